"""The text of region programs: one text a program, and everything else refused with line and rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.conv import Conv, QConv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.values import Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.quantized_programs import EVERY_QUANTIZED, quantized_programs
from tests.kernels.region_programs import EVERY_INSTRUCTION, programs


def test_every_instruction_survives() -> None:
    program = parse(EVERY_INSTRUCTION, 11)
    assert text(program) == EVERY_INSTRUCTION
    assert program.instructions[3] == Conv(2, 1, None, program.instructions[3].window, 1, 2, Act("relu"))  # type: ignore[union-attr]
    assert program.instructions[10] == Load(1, 16, rows=True)
    assert program.outputs == (Output(9), Output(11, rows=True))
    assert program.weights[1] == Weight("gaps4", "f16", (8, 8, 3, 3), 3, 4)


def test_every_quantized_instruction_survives() -> None:
    program = parse(EVERY_QUANTIZED, 17)
    assert text(program) == EVERY_QUANTIZED
    padded = Window((3, 3), (1, 1), (1, 1, 1, 1))
    assert program.instructions[4] == QConv(3, 3, 1, None, padded, 1, 3, Act("relu"), Quantized(0.0313, 3))
    assert program.instructions[12] == QConv(10, 4, 1, None, padded, 1, None, Act("hardswish"))
    assert program.weights[4] == Weight("bitmask", "s8", (8, 8, 3, 3), 7, 8, (2, 4))


@given(st.one_of(programs(), quantized_programs()))
@settings(max_examples=300, deadline=None)
def test_programs_survive_their_text(program: Program) -> None:
    assert parse(text(program), program.node_inputs) == program


@given(st.one_of(programs(), quantized_programs()), st.data())
@settings(max_examples=500, deadline=None)
def test_a_changed_text_is_refused_or_means_something_else(program: Program, data: st.DataObject) -> None:
    source = text(program)
    place = data.draw(st.integers(0, len(source) - 1))
    cut = data.draw(st.integers(0, 3))
    new = data.draw(st.text(st.sampled_from("0123456789 -,=:.twabef\n\r\t\0é"), max_size=3))
    changed = source[:place] + new + source[place + cut :]
    refusal, again = "", None
    try:
        again = parse(changed)
    except ArtifactError as error:
        refusal = str(error)
    assert "region program" in refusal if again is None else changed == source or again != program


HOSTILE = [
    ("lth_region 1\n", "lth_region 2\n", "line 1"),
    ("inputs 2\n", "inputs 02\n", "line 2"),
    ("inputs 2\n", "inputs 0\n", "line 2.*0 inputs"),
    ("inputs 2\n", "inputs 65\n", "line 2"),
    ("inputs 2\n", "inputs 99999999999999999999999999\n", "line 2.*no number"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense  f32 8,3,7,7 at 2", "line 3"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense f64 8,3,7,7 at 2", "line 3.*value type"),
    ("weight dense f32 8,3,7,7 at 2", "weight gaps5 f32 8,3,7,7 at 2,3", "line 3.*coding"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense f32 8,3,7,7 at 3", "line 3.*node input 2"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense f32 8,3,7 at 2", "line 10.*3 dimensions"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense f32 8,0,7,7 at 2", "line 3.*below 1"),
    ("weight dense f32 8,3,7,7 at 2", "weight dense f32 65536,65536,7,7 at 2", "line 3.*elements"),
    ("gaps4 f16 8,8,3,3 at 3,4", "gaps4 f16 8,8,3,3 at 4,3", "line 4.*node input 3"),
    ("load 0 channels=3", "load 2 channels=3", "line 9.*no activation"),
    ("load 0 channels=3", "load 1 channels=3", "loaded, once"),
    ("load 0 channels=3", "load 0 channels=65537", "line 9.*65537 channels"),
    ("load 0 channels=3", "load 0 channels=+3", "line 9"),
    ("t0 = load 0 channels=3", "t0 = load 0 channels=3 ", "line 9"),
    ("t0 = load 0 channels=3", "t0 = loadrows 0 channels=3", "line 10"),
    ("t1 = conv t0", "t1 = conv t1", "line 10.*no earlier"),
    ("t1 = conv", "t2 = conv", "line 10"),
    ("conv t0 w0 w2", "conv t0 w9 w2", "line 10.*no weight"),
    ("conv t0 w0 w2", "conv t0 w0 w4", "line 10.*bias"),
    ("conv t0 w0 w2 kernel=7,7", "conv t0 w0 w2 kernel=3,3", "line 10.*kernel"),
    ("stride=2,2 pads=3,3,3,3", "stride=9,2 pads=3,3,3,3", "line 10.*stride"),
    ("stride=2,2 pads=3,3,3,3", "stride=2,2 pads=7,3,3,3", "line 10.*pads"),
    ("kernel=7,7 stride=2,2 pads=3,3,3,3 dilation=1,1", "kernel=7,7 stride=2,2 pads=3,3,3,3 dilation=9,1", "line 10"),
    ("groups=1 act=relu", "groups=2 act=relu", "line 10.*"),
    ("groups=1 act=relu", "groups=0 act=relu", "line 10.*"),
    ("groups=1 act=relu", "act=relu groups=1", "line 10"),
    ("groups=1 act=relu", "groups=1 act=sinh", "line 10"),
    ("add=t2 act=relu", "add=t0 act=relu", "line 12.*channels"),
    ("resize t3 like=t1", "resize t3 like=t4", "line 13"),
    ("resize t3 like=t1", "resize t3 like=t1 linear=cubic", "half_pixel or asymmetric"),
    ("add t4 t1 act=none", "add t4 t0 act=none", "line 14.*do not fit together"),
    ("act t5 act=leaky:0.1", "act t5 act=leaky:0.10", "line 15"),
    ("act t5 act=leaky:0.1", "act t5 act=leaky:nan", "line 15.*finite"),
    ("act t5 act=leaky:0.1", "act t5 act=leaky:1e+39", "line 15.*finite"),
    ("act t5 act=leaky:0.1", "act t5 act=none", "line 15.*needs an activation"),
    ("concat t5 t6", "concat t5", "line 16"),
    ("from=0 to=4", "from=4 to=4", "line 17"),
    ("from=0 to=4", "from=0 to=17", "line 17.*channels"),
    ("kernel=2,2 stride=2,2 act=clip", "kernel=2,2 stride=1,1 act=clip", "line 18"),
    ("act=clip:-1:6", "act=clip:6:-1", "line 18.*wrong way"),
    ("output t9\n", "output t9 rows\n", "line 21.*rows"),
    ("output t9\n", "output t12\n", "line 21"),
    ("output t9\n", "output t9\noutput t9\n", "line 22.*twice"),
    ("output t9\n", "", "t9: nobody|line 18.*nobody"),
    ("output t9\noutput t11 rows\n", "", "0 outputs"),
    ("output t9\n", "# text\noutput t9\n", "line 21"),
    ("output t11 rows\n", "output t11 rows", "line break"),
    ("output t11 rows\n", "output t11 rows\n\n", "line 23"),
    (
        "weight steps8 f32 6,16 at 9,10\n",
        "weight steps8 f32 6,16 at 9,10\nweight dense f32 6 at 11\n",
        "line 9.*nobody",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), HOSTILE)
def test_a_broken_rule_is_named_with_its_line(old: str, new: str, message: str) -> None:
    assert EVERY_INSTRUCTION.count(old) >= 1
    with pytest.raises(ArtifactError, match=message):
        parse(EVERY_INSTRUCTION.replace(old, new, 1))


HOSTILE_QUANTIZED = [
    ("dense s8 8,3,7,7 at 2", "dense u8 8,3,7,7 at 2", "line 3.*value type"),
    ("dense s8 8,3,7,7 at 2", "dense:2x4 s8 8,3,7,7 at 2", "line 3.*no blocks"),
    ("dense s32 8 at 4", "dense s32 8,1 at 4", "line 5.*one dimension"),
    ("dense s32 8 at 4", "dense f32 8 at 4", "line 15.*s32"),
    ("dense f32 8 at 3", "dense f16 8 at 3", "line 15.*scales"),
    ("gaps4 s8 8,8,3,3", "gaps4:4x4 s8 8,8,3,3", "line 6.*blocks"),
    ("gaps4 s8 8,8,3,3", "gaps4:2x04 s8 8,8,3,3", "line 6.*no number"),
    ("gaps4 s8 8,8,3,3", "gaps4:2 s8 8,8,3,3", "line 6"),
    ("gaps4 s8 8,8,3,3", "gaps4: s8 8,8,3,3", "line 6"),
    ("gaps4 s8 8,8,3,3", "gaps4 f32 8,8,3,3", "line 17.*s8"),
    ("bitmask:2x4 s8 8,8,3,3", "bitmask:2x4 s8 8,9,3,3", "line 7.*whole number of blocks"),
    ("bitmask:2x4 s8 8,8,3,3", "bitmask:2x4 s8 7,8,3,3", "line 7.*whole number of blocks"),
    ("gaps4:2x1 f32 8,3,1,1", "gaps4:2x1 s8 8,3,1,1", "line 26.*f32"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:0:128", "line 14.*scale"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:-0.0171:128", "line 14.*scale"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:nan:128", "line 14.*scale"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:1e+13:128", "line 14.*scale"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:1e-13:128", "line 14.*scale"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:0.0171:256", "line 14.*zero point"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:0.01710:128", "line 14"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=u8:0.0171", "line 14"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=s8:0.0171:128", "line 14"),
    ("quantize t0 out=u8:0.0171:128", "quantize t0 out=f32", "line 14.*quantized tensor"),
    ("t1 = quantize t0", "t1 = requantize t0 act=none", "line 14.*float32"),
    ("qconv t1 w0 w1 w2", "conv t1 w0 w2", "line 15"),
    ("qconv t1 w0", "qconv t0 w0", "line 15.*float32"),
    ("act=clip:-1:3 out=u8:0.0151:100", "act=clip:-1:3 out=f32", "line 23.*an argument is float32"),
    ("conv t10 w4 w1 - ", "conv t10 w4 w10 - ", "line 25.*no weight"),
    ("groups=1 act=hardswish out=f32", "groups=1 add=t10 act=hardswish out=f32", "line 25.*nothing is added"),
    ("groups=1 act=hardswish out=f32", "groups=4 act=hardswish out=f32", "line 25.*"),
    (
        "t6 = requantize t5 act=leaky:0.1 out=u8:0.02:0",
        "t6 = requantize t5 act=leaky:0.1 out=u8:0.02:1",
        "line 20.*one zero",
    ),
    ("from=4 to=12", "from=2 to=12", "line 21.*multiple of 4"),
    ("output t11\n", "output t10\n", "line 33.*float32"),
    ("bitmask s8 8,6,2,3", "bitmask f32 8,6,2,3", "line 27.*s8"),
    ("bitmask s8 8,6,2,3", "bitmask s8 6,8,2,3", "line 27.*takes 6 channels"),
    ("dense s32 6 at 16", "dense f32 6 at 16", "line 27.*s32"),
    ("t10 w8 w6 w9", "t10 w8 w1 w9", "line 27.*scales"),
    ("t10 w8 w6 w9", "t11 w8 w6 w9", "line 27.*float32"),
    ("t10 w8 w6 w9", "t10 w8 w6", "line 27"),
    ("kernel=2,3 stride=2,3 act=relu", "kernel=2,3 stride=3,2 act=relu", "line 27"),
    ("kernel=2,3 stride=2,3 act=relu", "kernel=3,2 stride=3,2 act=relu", "line 27.*kernel"),
    ("qconvtranspose t10 w8 w6 w9", "convtranspose t10 w8 w9", "line 27"),
]


@pytest.mark.parametrize(("old", "new", "message"), HOSTILE_QUANTIZED)
def test_a_broken_rule_of_bytes_is_named_with_its_line(old: str, new: str, message: str) -> None:
    assert EVERY_QUANTIZED.count(old) >= 1
    with pytest.raises(ArtifactError, match=message):
        parse(EVERY_QUANTIZED.replace(old, new, 1))


@pytest.mark.parametrize("source", ["", "\n", "lth_region 1", "lth_region 1\n", "\0" * 100, "t0\n" * 5000, "é\n" * 3])
def test_what_is_no_program_is_refused(source: str) -> None:
    with pytest.raises(ArtifactError, match="region program"):
        parse(source)


def test_a_long_text_is_refused_unread() -> None:
    with pytest.raises(ArtifactError, match="characters"):
        parse("lth_region 1\n" * 200_000)


def test_the_node_must_have_as_many_inputs() -> None:
    with pytest.raises(ArtifactError, match="reads 11 inputs, the node has 10"):
        parse(EVERY_INSTRUCTION, 10)


def test_a_program_that_breaks_a_rule_has_no_text() -> None:
    with pytest.raises(ArtifactError, match="t1"):
        text(Program(1, (), (Load(0, 3), Activate(0, Act("clip", (1.0, 0.0)))), (Output(1),)))

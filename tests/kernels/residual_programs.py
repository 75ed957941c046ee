"""Region programs whose residuals are read for the last time, or are not, where they are added."""

_ONE = "kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1"
_THREE = "kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1"
_HEAD = f"""\
lth_region 1
inputs 1
weight dense f32 12,8,1,1 at 1
weight dense f32 12,12,3,3 at 2
weight dense f32 12,12,1,1 at 3
t0 = load 0 channels=8
t1 = conv t0 w0 - {_ONE} act=relu
t2 = conv t1 w1 - {_THREE} act=relu
"""
_BYTES = f"""\
lth_region 1
inputs 1
weight bitmask:1x4 s8 12,8,1,1 at 1,2
weight dense s8 12,12,3,3 at 3
weight bitmask:2x4 s8 12,12,1,1 at 4,5
weight dense f32 12 at 6
t0 = load 0 channels=8
t1 = quantize t0 out=u8:0.0171:128
t2 = qconv t1 w0 w3 - {_ONE} act=relu out=u8:0.02:0
t3 = qconv t2 w1 w3 - {_THREE} act=relu out=u8:0.03:7
"""
_FLOATS = {
    "one after the other": f"""\
t3 = conv t2 w2 - {_ONE} add=t1 act=relu
t4 = conv t3 w1 - {_THREE} act=silu
t5 = conv t4 w2 - {_ONE} add=t3 act=hardswish
t6 = conv t5 w2 - {_ONE} act=none
output t6
""",
    "read again": f"""\
t3 = conv t2 w2 - {_ONE} add=t1 act=relu
t4 = conv t3 w2 - {_ONE} add=t1 act=none
output t4
""",
    "returned": f"""\
t3 = conv t2 w2 - {_ONE} add=t1 act=relu
output t1
output t3
""",
    "also what the windows read": f"""\
t3 = conv t2 w1 - {_THREE} add=t2 act=relu
t4 = conv t3 w2 - {_ONE} add=t3 act=none
t5 = conv t1 w2 - {_ONE} add=t4 act=none
output t5
""",
    "read by windows through a slice": f"""\
t3 = slice t2 from=0 to=12
t4 = conv t3 w1 - {_THREE} add=t2 act=relu
t5 = conv t1 w2 - {_ONE} add=t4 act=none
output t5
""",
    "in front of a concatenation": f"""\
t3 = conv t2 w2 - {_ONE} add=t1 act=relu
t4 = conv t3 w1 - {_THREE} act=relu
t5 = concat t3 t4
output t5
""",
    "a part of a concatenation": f"""\
t3 = concat t1 t2
t4 = conv t2 w2 - {_ONE} add=t1 act=relu
t5 = slice t3 from=12 to=24
t6 = conv t4 w2 - {_ONE} add=t5 act=relu
t7 = concat t6 t4
output t7
""",
    "sums of whole tensors": f"""\
t3 = add t1 t2 act=relu
t4 = act t3 act=silu
t5 = add t4 t4 act=none
t6 = conv t5 w2 - {_ONE} act=none
t7 = add t6 t5 act=leaky:0.1
output t7
""",
}
_QUANTIZED = {
    "one after the other, in bytes": f"""\
t4 = qconv t3 w2 w3 - {_ONE} add=t2 act=relu out=u8:0.05:9
t5 = qconv t4 w1 w3 - {_THREE} add=t4 act=relu out=u8:0.06:0
t6 = qconv t5 w1 w3 - {_THREE} act=silu out=u8:0.06:3
t7 = qconv t6 w2 w3 - {_ONE} add=t5 act=clip:-1:4 out=u8:0.07:8
t8 = dequantize t7
output t8
""",
    "sums of whole tensors, in bytes": f"""\
t4 = qadd t3 t2 act=none out=u8:0.05:9
t5 = requantize t4 act=leaky:0.1 out=u8:0.04:30
t6 = qconv t5 w2 w3 - {_ONE} act=none out=u8:0.05:9
t7 = qadd t6 t5 act=none out=u8:0.05:9
t8 = dequantize t7
output t8
""",
}
_NEWER = {
    "sums with the activation of one of both": f"""\
t4 = qresidual t3 t2 act=silu out=u8:0.05:9
t5 = qconv t4 w2 w3 - {_ONE} act=none out=u8:0.05:130
t6 = qresidual t4 t5 act=leaky:0.1 out=u8:0.06:20
t7 = qresidual t6 t6 act=relu out=u8:0.07:8
t8 = dequantize t7
output t8
""",
}
RESIDUAL_PROGRAMS = {name: _HEAD + body for name, body in _FLOATS.items()} | {
    name: _BYTES + body for name, body in _QUANTIZED.items()
}
RESIDUAL_PROGRAMS |= {name: _BYTES.replace("lth_region 1", "lth_region 4") + body for name, body in _NEWER.items()}

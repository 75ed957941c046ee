"""Nodes with every instruction, coding and activation, which the tests of the host run and damage."""

from pathlib import Path

from tests.kernels.bf16_programs import BF16_CHAIN, BF16_TOKENS
from tests.kernels.quantized_programs import EVERY_QUANTIZED
from tests.kernels.region_nodes import region_node, write_node
from tests.kernels.region_programs import EVERY_INSTRUCTION
from tests.kernels.residual_programs import RESIDUAL_PROGRAMS
from tests.kernels.roi_nodes import ROI_NODES, write_roi_node

GROUPED = """\
lth_region 1
inputs 1
weight gaps8 f32 12,2,3,3 at 1,2
weight gaps16 f16 6,12,1,1 at 3,4
weight gaps6 f32 6,6,3,3 at 5,6
weight gaps10 f32 6 at 7,8
t0 = load 0 channels=6
t1 = conv t0 w0 - kernel=3,3 stride=1,2 pads=2,1,0,1 dilation=2,1 groups=3 act=hardswish
t2 = conv t1 w1 w3 kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=leaky:0.1
t3 = conv t2 w2 w3 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t2 act=none
t4 = maxpool t3 kernel=2,2 stride=2,2 pads=0,0,0,0 dilation=1,1
t5 = conv t4 w2 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=clip:-0.5:6
t6 = resize t5 like=t0 linear=half_pixel
t7 = concat t6 t0
output t7
output t3
"""
QUADS = """\
lth_region 1
inputs 1
weight bitmask:1x4 s8 12,8,3,3 at 1,2
weight dense f32 12 at 3
weight dense s32 12 at 4
weight gaps6:2x4 s8 6,12,1,1 at 5,6
weight dense f32 6 at 7
t0 = load 0 channels=8
t1 = quantize t0 out=u8:0.0171:128
t2 = qconv t1 w0 w1 w2 kernel=3,3 stride=2,2 pads=1,0,1,1 dilation=1,1 groups=1 act=relu out=u8:0.0313:0
t3 = qconv t2 w3 w4 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=clip:-0.5:2 out=u8:0.0151:60
t4 = maxpool t3 kernel=2,2 stride=2,2 pads=0,0,0,0 dilation=1,1
t5 = resize t4 like=t3
t6 = dequantize t5
t7 = qconv t2 w3 w4 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none out=f32
output t6
output t7
"""
BFLOATS = """\
lth_region 6
inputs 1
weight bitmask bf16 12,7,3,3 at 1,2
weight dense f32 12 at 3
weight gaps6:2x4 bf16 6,12,1,1 at 4,5
weight dense bf16 6,6,3,3 at 6
t0 = load 0 channels=7
t1 = conv t0 w0 w1 kernel=3,3 stride=2,2 pads=1,0,1,1 dilation=1,1 groups=1 act=relu
t2 = conv t1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=silu
t3 = conv t2 w3 - kernel=3,3 stride=1,1 pads=2,2,2,2 dilation=2,2 groups=1 add=t2 act=none
output t1
output t3
"""
COARSE = """\
lth_region 5
inputs 1
weight bitmask:16x4 s8 32,16,3,3 at 1,2
weight dense f32 32 at 3
weight gaps4:32x4 s8 64,32,1,1 at 4,5
weight dense f32 64 at 6
weight steps8:16x4 f16 16,16,3,3 at 7,8
t0 = load 0 channels=16
t1 = quantize t0 out=u8:0.0171:128
t2 = qconv t1 w0 w1 - kernel=3,3 stride=2,1 pads=1,1,1,1 dilation=1,1 groups=1 act=relu out=u8:0.0313:0
t3 = qconv t2 w2 w3 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=silu out=u8:0.0151:60
t4 = dequantize t3
t5 = conv t0 w4 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=relu
output t4
output t5
"""
VERSION_2 = """\
lth_region 2
inputs 1
weight bitmask f32 8,6,3,3 at 1,2
weight dense s8 8,8,1,1 at 3
weight dense f32 8 at 4
t0 = load 0 channels=6
t1 = averagepool t0 kernel=3,2 stride=1,2 pads=2,1,0,1 dilation=1,1 include_pads=0
t2 = conv t1 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=gelu
t3 = averagepool t2 kernel=2,2 stride=1,1 pads=0,1,1,0 dilation=1,2 include_pads=1
t4 = act t3 act=gelu_tanh
t5 = quantize t2 out=u8:0.02:20
t6 = qconv t5 w1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=gelu out=u8:0.02:17
t7 = requantize t6 act=gelu_tanh out=u8:0.03:12
t8 = dequantize t7
output t4
output t8
"""
CELLS = """\
lth_region 3
inputs 1
t0 = load 0 channels=11
t1 = quantize t0 out=u8:0.0171:128
t2 = qslice t1 from=3 to=10
t3 = requantize t2 act=silu out=u8:0.02:30
t4 = qslice t3 from=2 to=3
t5 = qconcat t3 t4 t3
t6 = slice t5 from=4 to=13
t7 = qconcat t6 t5
t8 = dequantize t7
output t8
"""
VERSION_3 = """\
lth_region 3
inputs 1
weight bitmask f32 8,6,3,3 at 1,2
weight dense f32 4,8,1,1 at 3
weight dense f32 8,4,1,1 at 4
weight dense f32 1,8,1,1 at 5
weight dense f16 8,1,1 at 6
weight dense s8 8,8,1,1 at 7
weight dense f32 8 at 8
t0 = load 0 channels=6
t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=mish
t2 = globalaveragepool t1
t3 = conv t2 w1 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=elu:0.5
t4 = conv t3 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=hardsigmoid:0.2:0.5
t5 = multiply t1 t4 act=tanh
t6 = scale t5 w3 w4 act=linear:0.5:-0.25
t7 = subtract t6 t5 act=quotient:3
t8 = multiply t7 t6 act=none
t9 = scale t8 - w3 act=exp
t10 = quantize t5 out=u8:0.01:128
t11 = qconv t10 w5 w6 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=sigmoid out=u8:0.004:0
t12 = requantize t11 act=hardsigmoid:2:0.1 out=u8:0.004:0
t13 = dequantize t12
output t9
output t13
"""
MOVED = """\
lth_region 3
inputs 1
weight dense f32 12 at 1
weight dense f16 12,1,1 at 2
weight dense f32 1,12,1,1 at 3
weight bitmask f32 4,12,3,3 at 4,5
t0 = load 0 channels=3
t1 = spacetodepth t0 block=2 order=columns
t2 = batchnorm t1 w0 w1 w2 w0 epsilon=100 act=relu
t3 = shuffle t2 groups=4
t4 = pad t3 pads=1,0,2,3
t5 = conv t4 w3 - kernel=3,3 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none
t6 = spacetodepth t5 block=3 order=rows
output t6
output t4
"""
GROUPS_OF_CELLS = """\
lth_region 3
inputs 1
weight bitmask f32 12,1,5,5 at 1,2
weight dense s8 6,1,3,3 at 3
weight gaps4 s8 6,2,3,2 at 4,5
weight dense f32 6 at 6
weight dense s32 6 at 7
t0 = load 0 channels=6
t1 = conv t0 w0 - kernel=5,5 stride=2,2 pads=2,2,2,2 dilation=1,1 groups=6 act=silu
t2 = quantize t0 out=u8:0.02:120
t3 = qgrouped t2 w1 w3 w4 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=6 act=relu out=u8:0.03:0
t4 = qgrouped t3 w1 w3 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=6 add=t2 act=none out=u8:0.03:20
t5 = qgrouped t4 w2 w3 w4 kernel=3,2 stride=2,1 pads=2,0,0,1 dilation=1,2 groups=3 act=none out=f32
output t1
output t5
"""
TOKENS = """\
lth_region 4
inputs 2
weight gaps6 f32 11,24 at 2,3
weight dense f16 24 at 4
weight bitmask f16 24,11 at 5,6
weight dense f32 11 at 7
t0 = loadtokens 0 channels=11
t1 = loadtokens 1 channels=11
t2 = layernorm t0 w3 w3 epsilon=0.01 act=none
t3 = matmul t2 w0 w1 act=gelu
t4 = matmul t3 w2 w3 add=t0 act=none
t5 = layernorm t4 - - epsilon=0.1 act=relu
t6 = matmul t1 w0 - act=none
output t5 rows
output t6 rows
"""
QUANTIZED_TOKENS = """\
lth_region 4
inputs 1
weight bitmask s8 12,24 at 1,2
weight dense f32 24 at 3
weight dense s32 24 at 4
weight gaps4 s8 24,12 at 5,6
weight dense f32 12 at 7
t0 = loadtokens 0 channels=12
t1 = quantize t0 out=u8:0.02:120
t2 = qmatmul t1 w0 w1 w2 act=gelu out=u8:0.03:10
t3 = qmatmul t2 w3 w4 - add=t1 act=none out=u8:0.03:128
t4 = qmatmul t3 w0 w1 w2 act=relu out=f32
t5 = dequantize t3
output t4 rows
output t5 rows
"""
TOKENS_IN_BLOCKS = """\
lth_region 6
inputs 1
weight bitmask:4x1 s8 12,24 at 1,2
weight dense f32 24 at 3
weight dense s32 24 at 4
weight gaps4:4x2 s8 24,12 at 5,6
weight dense f32 12 at 7
weight steps8:1x2 f16 24,6 at 8,9
weight bitmask:4x16 f32 12,16 at 10,11
t0 = loadtokens 0 channels=12
t1 = quantize t0 out=u8:0.02:120
t2 = qmatmul t1 w0 w1 w2 act=gelu out=u8:0.03:10
t3 = qmatmul t2 w3 w4 - add=t1 act=none out=u8:0.03:128
t4 = qmatmul t3 w0 w1 w2 act=relu out=f32
t5 = matmul t4 w5 - act=relu_linear:0.5:-0.25
t6 = dequantize t3
t7 = matmul t6 w6 - act=none
output t5 rows
output t7 rows
"""
VERSION_5 = """\
lth_region 5
inputs 1
weight bitmask f32 8,6,2,2 at 1,2
t0 = load 0 channels=6
t1 = zeromaxpool t0 kernel=2,2 stride=1,1 pads=0,0,1,1 dilation=1,1
t2 = conv t1 w0 - kernel=2,2 stride=1,1 pads=0,0,1,1 dilation=1,1 groups=1 act=none
t3 = quantize t2 out=u8:0.02:90
t4 = zeromaxpool t3 kernel=3,2 stride=2,2 pads=2,1,0,1 dilation=1,2
t5 = dequantize t4
output t2
output t5
"""
GATES = """\
lth_region 5
inputs 1
t0 = load 0 channels=11
t1 = quantize t0 out=u8:0.0171:128
t2 = qglobalaveragepool t1 act=hardswish out=u8:0.004:20
t3 = dequantize t2
t4 = act t3 act=sigmoid
t5 = qgate t1 t4 act=hardswish out=u8:0.02:20
t6 = qpad t5 pads=1,0,2,3
t7 = qaveragepool t6 kernel=3,2 stride=2,1 pads=2,1,0,1 dilation=1,1 include_pads=0 out=u8:0.017:19
t8 = qaveragepool t7 kernel=2,2 stride=1,1 pads=0,1,1,0 dilation=1,2 include_pads=1 out=u8:0.02:120
t9 = qmultiply t8 t8 act=silu out=u8:0.01:30
t10 = dequantize t9
output t10
"""
UPSAMPLED = """\
lth_region 6
inputs 2
weight dense s8 8,8,1,1 at 2
weight dense f32 8 at 3
t0 = load 0 channels=8
t1 = load 1 channels=8
t2 = upsample t0 factor=2
t3 = add t2 t1 act=none
t4 = upsample t3 factor=3 linear=half_pixel
t5 = quantize t0 out=u8:0.02:120
t6 = qconv t5 w0 w1 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=relu out=u8:0.02:7
t7 = upsample t6 factor=2
t8 = dequantize t7
t9 = concat t8 t1
output t4
output t9
"""
BINS = """\
lth_region 6
inputs 1
weight bitmask f32 20,6,1,1 at 1,2
weight dense f32 5,1 at 3
weight gaps4 f16 10,1 at 4,5
t0 = load 0 channels=6
t1 = conv t0 w0 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none
t2 = binmean t1 w1 groups=4
t3 = slice t1 from=3 to=13
t4 = binmean t3 w2 groups=1
output t2
output t4
"""
NODES = {
    "every": (EVERY_INSTRUCTION, [(2, 3, 21, 18), (5, 16)]),
    "grouped": (GROUPED, [(1, 6, 13, 17)]),
    "bytes": (EVERY_QUANTIZED, [(2, 3, 21, 18), (5, 16)]),
    "quads": (QUADS, [(1, 8, 13, 17)]),
    "coarse blocks": (COARSE, [(1, 16, 13, 17)]),
    "bf16 weights": (BFLOATS, [(1, 7, 13, 17)]),
    "bf16 chain": (BF16_CHAIN, [(1, 21, 9, 13)]),
    "bf16 tokens": (BF16_TOKENS, [(2, 9, 20)]),
    "version 2": (VERSION_2, [(2, 6, 21, 18)]),
    "cells": (CELLS, [(2, 11, 13, 17)]),
    "version 3": (VERSION_3, [(2, 6, 21, 18)]),
    "moved": (MOVED, [(2, 3, 16, 10)]),
    "groups of cells": (GROUPS_OF_CELLS, [(2, 6, 21, 18)]),
    "tokens": (TOKENS, [(2, 9, 11), (2, 9, 11)]),
    "quantized tokens": (QUANTIZED_TOKENS, [(2, 9, 12)]),
    "tokens in blocks": (TOKENS_IN_BLOCKS, [(2, 9, 12)]),
    "upsampled": (UPSAMPLED, [(2, 8, 5, 9), (2, 8, 10, 18)]),
    "version 5": (VERSION_5, [(2, 6, 21, 18)]),
    "residuals": (RESIDUAL_PROGRAMS["one after the other"], [(2, 8, 13, 17)]),
    "residuals in bytes": (RESIDUAL_PROGRAMS["one after the other, in bytes"], [(1, 8, 13, 17)]),
    "bins": (BINS, [(2, 6, 13, 17)]),
    "gates": (GATES, [(2, 11, 13, 17)]),
    "shortcuts": (RESIDUAL_PROGRAMS["sums with the activation of one of both"], [(1, 8, 13, 17)]),
}
POOLED = ["of a mask head", "adaptive"]


def write_nodes(folder: Path) -> list[Path]:
    """A file of each in the host's format."""
    regions = [write_node(folder / f"{name}.node", region_node(*given)) for name, given in NODES.items()]
    return regions + [write_roi_node(folder / f"{name}.node", ROI_NODES[name]) for name in POOLED]

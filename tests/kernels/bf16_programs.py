"""Programs with weights of bf16: products of tokens, and layers that read what is stored rounded alone."""

BF16_TOKENS = """\
lth_region 6
inputs 1
weight gaps4 bf16 20,37 at 1,2
weight dense f32 37 at 3
weight bitmask bf16 37,20 at 4,5
t0 = loadtokens 0 channels=20
t1 = matmul t0 w0 w1 act=gelu
t2 = matmul t1 w2 - add=t0 act=none
output t2 rows
"""

# Tensors that layers of bf16 read rounded: alone, beside a residual, twice, for their shape, as a part and as a slice.
BF16_CHAIN = """\
lth_region 6
inputs 1
weight dense bf16 21,21,3,3 at 1
weight dense f32 21 at 2
weight dense bf16 40,42,1,1 at 3
weight dense bf16 21,7,1,1 at 4
t0 = load 0 channels=21
t1 = conv t0 w0 w1 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=relu
t2 = conv t1 w0 w1 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t1 act=relu
t3 = conv t2 w0 w1 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1 groups=1 act=sigmoid
t4 = conv t3 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none
t5 = resize t4 like=t2
t6 = conv t2 w0 w1 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t5 act=none
t7 = conv t6 w0 w1 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none
t8 = concat t6 t7
t9 = conv t8 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=relu
t10 = slice t9 from=3 to=10
t11 = conv t10 w3 w1 kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 add=t7 act=none
output t11
"""

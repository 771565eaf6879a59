"""GPU kernels run a second way: their optimised bitcode, compiled for x86, threads as fibers.

The interpreter of ../ptx and LLVM's PTX backend could share a misunderstanding with us; nothing of
theirs is used here. `retarget.py` turns the bitcode that the PTX backend gets into LLVM IR for
x86, `intrinsics.py` makes calls of `fibers.c` of what only a GPU has, and `machine.py` walks the
launch plan with such kernels on memory of this process.
"""

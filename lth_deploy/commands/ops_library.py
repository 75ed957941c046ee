"""`lth-deploy ops-library`."""


def ops_library() -> None:
    """Path of the kernel library, for ONNX Runtime's register_custom_ops_library in any language."""
    from lth_deploy.kernels import ops_library as find_library

    print(find_library())

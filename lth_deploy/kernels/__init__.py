"""The kernel library: region programs, their oracle, and the custom operators that run them."""

from lth_deploy.kernels.library import ops_library

__all__ = ["ops_library"]

"""Tests of compiled code are skipped where nothing can be compiled."""

import pytest
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler


def is_there() -> bool:
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


needed = pytest.mark.skipif(not is_there(), reason="there is no C++ compiler")

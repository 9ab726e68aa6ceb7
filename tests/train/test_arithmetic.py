"""The settings of a CUDA device that a run changes, and puts back."""

import pytest
import torch

from hftune.train.arithmetic import describe_arithmetic, fast_arithmetic, may_try_convolutions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def settings():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark


def run_that_breaks():
    with fast_arithmetic(CUDA):
        assert settings() == ("high", True)
        with fast_arithmetic(CUDA):
            pass
        assert settings() == ("high", True)
        raise KeyError


def test_they_hold_inside_and_are_put_back():
    before = settings()
    with pytest.raises(KeyError):
        run_that_breaks()
    assert settings() == before == ("highest", False)


def test_a_cpu_is_left_alone():
    with fast_arithmetic(CPU):
        assert settings() == ("highest", False)
    assert describe_arithmetic(CPU) == {}


def test_a_program_that_asks_for_equal_bits_gets_them():
    torch.use_deterministic_algorithms(True)
    try:
        with fast_arithmetic(CUDA):
            assert not torch.backends.cudnn.benchmark
        assert not may_try_convolutions()
    finally:
        torch.use_deterministic_algorithms(False)
    assert may_try_convolutions()


def test_the_newer_names_of_a_program_stay():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with fast_arithmetic(CUDA):
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before

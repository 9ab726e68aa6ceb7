"""The settings of a CUDA device that a run changes, and puts back."""

import pytest
import torch

from hftune.train.arithmetic import (
    arithmetic_text,
    describe_arithmetic,
    fast_arithmetic,
    may_try_convolutions,
    may_use_tf32,
)

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


def test_a_program_that_keeps_fp32_whole_by_the_newer_names_gets_no_tf32():
    assert may_use_tf32()
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    torch.set_float32_matmul_precision("high")
    matmul.fp32_precision = "ieee"
    try:
        assert not may_use_tf32()
        with fast_arithmetic(CUDA):
            assert not may_use_tf32()
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = before
    with fast_arithmetic(CUDA):
        assert may_use_tf32()


@pytest.mark.parametrize(
    ("tf32", "tries", "text"),
    [
        (True, True, "in TF32; cuDNN picks convolutions by trying them for each shape"),
        (False, True, "in full precision; cuDNN picks convolutions by trying them for each shape"),
        (True, False, "in TF32; cuDNN picks convolutions by rule"),
    ],
)
def test_what_is_set_is_said_in_one_line(tf32, tries, text):
    assert arithmetic_text({"tf32": tf32, "cudnn_autotune": tries}) == f"fp32 products {text}"

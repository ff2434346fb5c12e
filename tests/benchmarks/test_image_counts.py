from benchmarks.image_counts import exponent, table

RESULTS = {
    1_000: {"seconds": 10.0, "more": 300.0, "process": 800.0},
    10_000: {"seconds": 100.0, "more": 300.0, "process": 800.0},
}


def test_what_grows_with_the_images_has_an_exponent_of_one_and_what_does_not_of_zero() -> None:
    assert abs(exponent(RESULTS, "seconds") - 1) < 1e-9
    assert exponent(RESULTS, "process") == 0


def test_the_table_has_a_row_for_each_number_of_images() -> None:
    assert table(RESULTS).splitlines()[2:] == ["| 1,000 | 10 | 100 | 300 | 800 |", "| 10,000 | 100 | 100 | 300 | 800 |"]

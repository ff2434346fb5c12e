from benchmarks.image_counts import growth, table

RESULTS = {
    1_000: [{"seconds": seconds, "more": 300.0, "process": 800.0} for seconds in (10.0, 9.0, 20.0)],
    10_000: [{"seconds": 100.0, "more": 300.0, "process": 800.0}],
}


def test_what_grows_with_the_images_has_an_exponent_of_one_and_what_does_not_of_zero() -> None:
    assert abs(growth(RESULTS, "seconds") - 1) < 1e-9
    assert growth(RESULTS, "process") == 0


def test_the_table_has_a_row_for_each_number_of_images_with_the_median_and_how_far_it_went() -> None:
    assert table(RESULTS).splitlines()[2:] == [
        "| 1,000 | 3 | 10 (9 to 20) | 100 (50 to 111) | 300 | 800 |",
        "| 10,000 | 1 | 100 | 100 | 300 | 800 |",
    ]

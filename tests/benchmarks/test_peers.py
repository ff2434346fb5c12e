from benchmarks.peers import measure, table


def test_what_is_not_installed_is_left_out_and_the_others_take_turns() -> None:
    turns: list[str] = []
    seconds = measure({"ours": lambda: turns.append("ours"), "none": None, "b": lambda: turns.append("b")}, rounds=2)
    assert turns == ["ours", "b", "ours", "b"]
    assert {name: len(taken) for name, taken in seconds.items()} == {"ours": 2, "b": 2}


def test_each_stands_beside_the_first_of_its_turn() -> None:
    assert table({"ours": [1.0, 2.0], "b": [3.0, 6.0]}).splitlines()[2:] == [
        "| ours | 1.50 (1.00 to 2.00) | 1.00 |",
        "| b | 4.50 (3.00 to 6.00) | 3.00 |",
    ]

"""One renderer of tables: aligned text that fits, or Markdown in which any text stays text."""

from rollout_bench.report.table import WIDTH, table

TITLES = ["path", "batch", "value"]


def test_plain_columns_are_aligned_and_a_short_row_ends_with_free_text():
    rows = [["zmq", "8", "1"], ["vllm-mp", "256", "12"], ["ray", "8: the reason runs on and on"]]
    assert table(TITLES, rows, right=[1]).splitlines() == [
        "path     batch  value",
        "zmq          8  1",
        "vllm-mp    256  12",
        "ray      8: the reason runs on and on",
    ]


def test_a_line_that_is_too_long_goes_on_below_and_nothing_is_cut():
    rows = [["zmq-" + "z" * 120, "8", "1"], ["zmq", "8", "no-word " * 20 + "end"]]
    lines = table(TITLES, rows).splitlines()
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join([*TITLES, *rows[0], *rows[1]]).split())
    assert [line for line in lines if len(line) > WIDTH] == [rows[0][0]]


def test_a_table_is_folded_in_the_width_of_the_terminal_by_words_and_its_columns_stay(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    rows = [["zmq", "8", "the reason is long and runs on"], ["vllm-mp", "256", "12 of <=>"]]
    assert table(
        TITLES, rows, right=[1], caption="what it is, and what it is not, in words"
    ).splitlines() == [
        "what it is, and what it is not, in words",
        "path     batch  value",
        "zmq          8  the reason is long and",
        "                runs on",
        "vllm-mp    256  12 of <=>",
    ]


def test_markdown_escapes_what_would_break_a_row_or_become_html():
    rows = [["<b>|", "8", "two\nlines"], ["a\\b", "8"]]
    assert table(TITLES, rows, right=[1], markdown=True).splitlines() == [
        "| path | batch | value |",
        "| --- | ---: | --- |",
        "| &lt;b>\\| | 8 | two lines |",
        "| a\\\\b | 8 |  |",
    ]

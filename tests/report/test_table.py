"""One renderer of tables: aligned text that fits, or Markdown in which any text stays text."""

from rollout_bench.report.table import table

TITLES = ["path", "batch", "value"]


def test_plain_columns_are_aligned_and_a_short_row_ends_with_free_text():
    rows = [["zmq", "8", "1"], ["vllm-mp", "256", "12"], ["ray", "8: the reason runs on and on"]]
    assert table(TITLES, rows, right=[1]).splitlines() == [
        "path     batch  value",
        "zmq          8  1",
        "vllm-mp    256  12",
        "ray      8: the reason runs on and on",
    ]


def test_a_line_is_cut_at_the_width_unless_there_is_none():
    rows = [["zmq", "8", "x" * 200]]
    assert [len(line) for line in table(TITLES, rows, width=100).splitlines()] == [18, 100]
    assert len(table(TITLES, rows, width=None).splitlines()[1]) > 200


def test_markdown_escapes_what_would_break_a_row_or_become_html():
    rows = [["<b>|", "8", "two\nlines"], ["a\\b", "8"]]
    assert table(TITLES, rows, right=[1], markdown=True).splitlines() == [
        "| path | batch | value |",
        "| --- | ---: | --- |",
        "| &lt;b>\\| | 8 | two lines |",
        "| a\\\\b | 8 |  |",
    ]

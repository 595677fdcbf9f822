from taxiway import docgen
from taxiway.docgen.markdown import codes, current, named, table
from taxiway.docgen.troubleshooting import Sentence, sentences

PAGE = "# Title\n\n<!-- made names -->\nold\n<!-- end -->\n\nProse.\n"


def test_a_part_of_a_page_is_replaced_and_its_prose_stays():
    made = current(PAGE, {"names": lambda: "new\n"})
    assert made == PAGE.replace("old", "new")
    assert named(made) == ["names"]


def test_a_cell_may_hold_what_separates_cells():
    assert table(("a", "b"), [("x|y", "z")]) == "| a | b |\n| --- | --- |\n| x&#124;y | z |\n"


def test_names_are_shown_as_code():
    assert codes(["a", "", "b"]) == "`a`, `b`"


def test_what_is_behind_is_written_and_the_rest_is_left_alone(tmp_path, capsys):
    behind, current_, missing = tmp_path / "behind", tmp_path / "current", tmp_path / "new" / "missing"
    behind.write_text("old")
    current_.write_text("same")
    before = current_.stat().st_mtime_ns
    files = {behind: lambda: "new", current_: lambda: "same", missing: lambda: "first"}
    assert docgen.main(check=False, files=files) == 0
    assert (behind.read_text(), missing.read_text()) == ("new", "first")
    assert current_.stat().st_mtime_ns == before
    assert capsys.readouterr().err == f"wrote {behind}\nwrote {missing}\n"
    assert docgen.main(check=True, files=files) == 0


def test_a_check_names_what_is_behind_and_writes_nothing(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("old")
    assert docgen.main(check=True, files={page: lambda: "new"}) == 1
    assert page.read_text() == "old"
    assert capsys.readouterr().err == f"{page} is behind the code: scripts/docs\n"


def test_the_sentences_of_errors_are_those_in_the_code_with_their_variable_parts_left_out(tmp_path):
    (tmp_path / "some.py").write_text(
        'raise UsageError(f"{name} is no {kind:>3}", "Use " "another.")\n'
        'found = DataError(f"{file}: lost")\n'
        'fail("%s is not %d." % (one, 2), "Install one, for example: uv")\n'
        'raise OtherError(f"{all}")\nraise MadeError(elsewhere)\nwarn("no error")\n'
    )
    assert list(sentences(tmp_path)) == [
        Sentence("UsageError", "… is no …", "Use another."),
        Sentence("DataError", "…: lost"),
        Sentence("TaxiwayError", "… is not ….", "Install one, for example: uv"),
    ]

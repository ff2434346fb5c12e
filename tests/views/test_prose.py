from neurocarto.views import method
from neurocarto.views.prose import prose


def test_marks_become_elements_and_everything_else_is_text() -> None:
    text = "### A title\n\n**Strong** and *soft*,\nin <two> lines & more.\n\n- one\n  goes on\n- *two*\n"
    assert prose(text) == (
        "<h3>A title</h3><p><strong>Strong</strong> and <em>soft</em>, in &lt;two&gt; lines &amp; more.</p>"
        "<ul><li>one goes on</li><li><em>two</em></li></ul>"
    )


def test_the_method_has_no_mark_that_is_left_as_it_is() -> None:
    shown = prose(method.METHOD) + prose(method.LIMITS) + prose(method.SOURCES)
    assert "*" not in shown
    assert "#" not in shown.replace("&#", "")
    assert shown.count("<li>") >= 9

//! What each lexical and syntax error means, for `aec explain`: one page a code.

/// Code, title, page. A page is plain text with indented examples, wrapped at 80 columns.
pub const EXPLANATIONS: [(&str, &str, &str); 22] = [
    (
        "E0101",
        "a character that has no meaning",
        "A script is Unicode text, but outside strings and comments only names may hold
letters beyond ASCII. Text copied from a web page or a PDF often brings typographic
quotes, dashes or blanks along; the help line names the plain character.",
    ),
    (
        "E0102",
        "a string that is not closed",
        "A string begins and ends with `\"` on one line. Inside it a quote is written `\\\"`
and a line break `\\n`.",
    ),
    (
        "E0103",
        "a string's escape or braces are wrong",
        "The escapes are `\\n`, `\\t`, `\\\"`, `\\\\`, `\\{`, `\\}` and `\\u{3b1}`. Braces hold an
expression and perhaps a format:

    print \"error {e:.3} after {n} epochs\"

A brace that is only text is written `\\{`. The name of a `test` has no expressions.",
    ),
    (
        "E0104",
        "a number that is too large",
        "Whole numbers go up to 9223372036854775807, others up to about 1.8e308.",
    ),
    (
        "E0105",
        "`'` where no value stands before it",
        "`'` is transpose, as in `W'`. Strings are written with double quotes.",
    ),
    (
        "E0106",
        "an operator of another language",
        "Conditions are joined with `and`, `or`, `not`; a power is `x ^ 2`; the remainder of
ints is `mod(a, b)`; a script rebinds a name with `x = x + 1`.",
    ),
    (
        "E0110",
        "something else was expected here",
        "The message says what may stand here and what was found. Often the mistake is a
little before: a comma, an operator or a word like `in`, `on`, `then` is missing.

A line goes on with the next one if it ends in an operator or a comma, inside `(` and
`[`, or if the next line begins with an operator. `-` at the beginning of a line is
such an operator only with a blank after it.",
    ),
    (
        "E0111",
        "a bracket that is not closed",
        "The second mark shows the bracket that was open. A line that begins with `let`,
`model`, `param`, `use`, `test`, `print`, `assert` or a definition always begins a
statement, so that one missing bracket costs one statement.",
    ),
    (
        "E0112",
        "a closing bracket too many",
        "Nothing that this bracket could close is open here.",
    ),
    (
        "E0113",
        "a word of the language as a name",
        "These words cannot be names: use as let fn on print assert for in if then else and
or not true false. `model`, `param`, `train` and `test` may be.",
    ),
    (
        "E0114",
        "`=` in a condition",
        "`=` gives a value to a name, `==` compares.",
    ),
    (
        "E0115",
        "comparisons in a row",
        "`a < b < c` is written `a < b and b < c`.",
    ),
    (
        "E0116",
        "a number that is not well written",
        "A number with a point has digits on both sides of it: `0.5`, `5.0`. A product is
written with `*`: `2 * x`.",
    ),
    (
        "E0120",
        "`??` beside arithmetic",
        "`a - x ?? 0` could mean `(a - x) ?? 0`, which fills the difference, or
`a - (x ?? 0)`, which fills x. Both are possible and differ, so one has to be
chosen with parentheses.",
    ),
    (
        "E0121",
        "`_` as a value",
        "Right of `|>` an argument `_` takes the piped value instead of the first place:

    xs |> map(f, _)

In patterns it binds nothing: `let (a, _) = pair`. It has no other meaning.",
    ),
    (
        "E0122",
        "an assignment to what is no name",
        "`x = e` and `(a, b) = e` rebind names of a script. Values themselves do not change:
`put(x, i, v)` is x with one entry replaced, `with(m, W = v)` a model or record with
one part replaced.",
    ),
    (
        "E0123",
        "a value with positions and names",
        "`(a, b)` is a tuple, `(a = 1, b = 2)` a record; they are different types and do not
mix in one value or pattern.",
    ),
    (
        "E0124",
        "an argument without a name after a named one",
        "Arguments without a name come first and fill the parameters in order; named ones
follow: `f(x, lr = 0.1)`.",
    ),
    (
        "E0125",
        "too many brackets and operators inside each other",
        "An expression may be nested 256 deep. Name parts of it with `let`.",
    ),
    (
        "E0126",
        "a member without `fn`",
        "`encoder`, `decoder`, `loss` and `apply` are written bare, as their names carry a
meaning; every other member of a model is written `fn name(…)`.",
    ),
    (
        "E0127",
        "a name given twice",
        "An argument of a call, or a field of a record, has one value.",
    ),
    (
        "E0128",
        "a statement in the wrong place",
        "`use`, `model` and `test` stand at the top of a script. `param` stands directly in a
`model`, which also holds `let`, `fn`, and the members `encoder`, `decoder`, `loss`
and `apply`, and no statements that do something.",
    ),
];

"""What people read when a spec is wrong: whole reports, letter by letter."""

from __future__ import annotations

import pytest

from tests.spec.specs import HEAD, MINIMAL, load, mistakes, report

REPORTS: dict[str, tuple[str, str]] = {
    "a misspelt key": (
        HEAD + "budgt: 5 USD\n",
        """\
spec.yaml:5:1: error: unknown key 'budgt'; did you mean 'budget'?
  budgt: 5 USD
  ^""",
    ),
    "a misspelt key that is required is one fault": (
        "version: 1\nname: mugs\nmodel: a/b\npromt: a mug\n",
        """\
spec.yaml:4:1: error: unknown key 'promt'; did you mean 'prompt'?
  promt: a mug
  ^""",
    ),
    "a missing key": (
        "version: 1\nname: mugs\nprompt: a mug\n",
        """\
spec.yaml:1:1: error: 'model' is missing; such as model: mulerouter/qwen-image-max
  version: 1
  ^""",
    ),
    "a missing key inside": (
        HEAD + "inputs: {id: sku}\n",
        """\
spec.yaml:5:9: error: 'from' is missing in 'inputs'; such as from: products.csv
  inputs: {id: sku}
          ^""",
    ),
    "an unknown key near none": (
        HEAD + "retry: {whatever: 3}\n",
        """\
spec.yaml:5:9: error: unknown key 'whatever' in 'retry'; known keys: attempts
  retry: {whatever: 3}
          ^""",
    ),
    "a key given twice": (
        HEAD + "seed: 1\nseed: 2\n",
        """\
spec.yaml:6:1: error: key 'seed' given twice; the first stands in line 5
  seed: 2
  ^""",
    ),
    "steps": (
        "version: 1\nname: chain\nsteps: []\nbudget: 1 USD\n",
        """\
spec.yaml:3:1: error: 'steps' is not supported by this version; write the single-step form: model, prompt and images \
at the top level
  steps: []
  ^""",
    ),
    "draw": (
        HEAD + "draw: {count: 20}\n",
        """\
spec.yaml:5:1: error: 'draw' is not supported by this version; choose rows with inputs.where, or the first ones with \
--limit
  draw: {count: 20}
  ^""",
    ),
    "a bare budget": (
        HEAD + "budget: 2.00\n",
        """\
spec.yaml:5:9: error: 'budget' needs a unit, such as 2.00 USD; write 2.00 USD if US dollars are meant
  budget: 2.00
          ^""",
    ),
    "a unit in small letters": (
        HEAD + "budget: 2.00 usd\n",
        """\
spec.yaml:5:9: error: 'budget' has the unknown unit 'usd'; write 2.00 USD
  budget: 2.00 usd
          ^""",
    ),
    "no amount": (
        HEAD + "budget: lots\n",
        """\
spec.yaml:5:9: error: 'budget' must be an amount with a unit such as 2.00 USD, none, or {limits: [AMOUNT, ...]}, not \
'lots'; units: USD, CNY, 1min-credit, evolink-credit
  budget: lots
          ^""",
    ),
    "an amount too fine": (
        HEAD + "budget: 0.0000001 USD\n",
        """\
spec.yaml:5:9: error: 'budget': finer than a millionth, or too large: 0.0000001; an amount is counted in millionths
  budget: 0.0000001 USD
          ^""",
    ),
    "one unit limited twice": (
        HEAD + "budget: {limits: [1 USD, 2 USD]}\n",
        """\
spec.yaml:5:26: error: 'budget.limits' has USD twice; one limit per unit
  budget: {limits: [1 USD, 2 USD]}
                           ^""",
    ),
    "a rate of nothing": (
        HEAD + "rates: {CNY: 0 USD}\n",
        """\
spec.yaml:5:14: error: 'rates.CNY' is zero, which would make everything free
  rates: {CNY: 0 USD}
               ^""",
    ),
    "an unknown unit of a rate": (
        HEAD + "rates: {cny: 0.14 USD}\n",
        """\
spec.yaml:5:9: error: the key 'cny' in 'rates' must be one of USD, CNY, 1min-credit, evolink-credit; did you mean \
'CNY'?
  rates: {cny: 0.14 USD}
          ^""",
    ),
    "a template without quotes": (
        HEAD + "size: {{ size }}  # of the matrix\n",
        """\
spec.yaml:5:7: error: a value that begins with {{ must stand in quotes; write "{{ size }}"
  size: {{ size }}  # of the matrix
        ^""",
    ),
    "a template without quotes, and words after it": (
        "version: 1\nname: mugs\nmodel: a/b\nprompt: {{ color }} mug\nn: 0\n",
        """\
spec.yaml:4:9: error: a value that begins with {{ must stand in quotes; write "{{ color }} mug"
  prompt: {{ color }} mug
          ^
spec.yaml:5:4: error: 'n' must be a whole number from 1 or a template, not 0; such as 1
  n: 0
     ^""",
    ),
    "templates without quotes in a list": (
        HEAD + "images: [{{ row.photo }}, refs/{{ x }}.png, 5]\n",
        """\
spec.yaml:5:10: error: a value that begins with {{ must stand in quotes; write "{{ row.photo }}"
  images: [{{ row.photo }}, refs/{{ x }}.png, 5]
           ^
spec.yaml:5:27: error: a value that holds {{ inside [ ] or { } must stand in quotes; write "refs/{{ x }}.png"
  images: [{{ row.photo }}, refs/{{ x }}.png, 5]
                            ^
spec.yaml:5:45: error: 'images[2]' must be a path, a URL, a data URI or a template, not 5; quote it: "5"
  images: [{{ row.photo }}, refs/{{ x }}.png, 5]
                                              ^""",
    ),
    "a model without its gateway": (
        HEAD.replace("mulerouter/", ""),
        """\
spec.yaml:3:8: error: 'model' must be gateway/model or a template, not 'qwen-image-max'; such as \
mulerouter/qwen-image-max
  model: qwen-image-max
         ^""",
    ),
    "another version": (
        HEAD.replace("version: 1", "version: 2"),
        """\
spec.yaml:1:10: error: 'version' must be 1, not 2
  version: 2
           ^""",
    ),
    "a version in quotes": (
        HEAD.replace("version: 1", 'version: "1"'),
        """\
spec.yaml:1:10: error: 'version' must be 1, not '1'; remove the quotes
  version: "1"
           ^""",
    ),
    "a name that is no folder": (
        HEAD.replace("name: mugs", "name: My Mugs"),
        """\
spec.yaml:2:7: error: 'name' must be up to 64 lower-case letters, digits, - and _, beginning with a letter or digit, \
not 'My Mugs'; such as mugs
  name: My Mugs
        ^""",
    ),
    "a size of another spelling": (
        HEAD + "size: 1024*768\n",
        """\
spec.yaml:5:7: error: 'size' must be WIDTHxHEIGHT, a ratio, auto or a template, not '1024*768'; such as 1024x1024
  size: 1024*768
        ^""",
    ),
    "a number for a text": (
        HEAD + "negative_prompt: 007\ndescription: 2024\n",
        """\
spec.yaml:6:14: error: 'description' must be text, not 2024; quote it: "2024"
  description: 2024
               ^""",
    ),
    "a number in quotes": (
        HEAD + 'samples: "2"\n',
        """\
spec.yaml:5:10: error: 'samples' must be a whole number from 1 or a template, not '2'; remove the quotes
  samples: "2"
           ^""",
    ),
    "a key without a value": (
        HEAD + "size:\n",
        """\
spec.yaml:5:1: error: 'size' has no value; write one, or remove the key
  size:
  ^""",
    ),
    "an item without a value": (
        HEAD + "matrix: {a: [b, ~]}\n",
        """\
spec.yaml:5:17: error: 'matrix.a[1]' has no value; write one, or remove it
  matrix: {a: [b, ~]}
                  ^""",
    ),
    "a list for a budget": (
        HEAD + "budget: [90 USD]\n",
        """\
spec.yaml:5:9: error: 'budget' must be an amount with a unit such as 2.00 USD, none, or {limits: [AMOUNT, ...]}, not \
a list
  budget: [90 USD]
          ^""",
    ),
    "a value with a colon": (
        "version: 1\nname: mugs\nprompt: Photo: a mug\n",
        """\
spec.yaml:3:14: error: ': ' is not allowed inside this value; quote the whole value, or mend the indentation
  prompt: Photo: a mug
               ^""",
    ),
    "a word that is none of several": (
        HEAD + "on_doubt: writeoff\norder: random\n",
        """\
spec.yaml:5:11: error: 'on_doubt' must be hold, resubmit or write_off, not 'writeoff'; did you mean 'write_off'?
  on_doubt: writeoff
            ^
spec.yaml:6:8: error: 'order' must be written or even, not 'random'
  order: random
         ^""",
    ),
    "a seed of no form": (
        HEAD + "seed: random\n",
        """\
spec.yaml:5:7: error: 'seed' must be a whole number from 0, a template, a list of whole numbers or {derive: NUMBER}, \
not 'random'; such as 42
  seed: random
        ^""",
    ),
    "a seed twice": (
        HEAD + "seed: [1, 1]\n",
        """\
spec.yaml:5:7: error: 'seed' has a value twice; the tasks would be identical
  seed: [1, 1]
        ^""",
    ),
    "a gateway dedicated twice": (
        HEAD + "dedicated: [mulerouter, mulerouter]\n",
        """\
spec.yaml:5:12: error: 'dedicated' has a value twice; name each gateway once
  dedicated: [mulerouter, mulerouter]
             ^""",
    ),
    "a gateway dedicated without a list": (
        HEAD + "dedicated: mulerouter\n",
        """\
spec.yaml:5:12: error: 'dedicated' must be a list of gateways, such as [evolink], not 'mulerouter'
  dedicated: mulerouter
             ^""",
    ),
    "a rate in other words": (
        HEAD + "limits: {mulerouter: {rate: 60/minute, in_flight: 0}}\n",
        """\
spec.yaml:5:29: error: 'limits.mulerouter.rate' must be NUMBER/s, NUMBER/min or NUMBER/h, not '60/minute'; such as \
60/min
  limits: {mulerouter: {rate: 60/minute, in_flight: 0}}
                              ^
spec.yaml:5:51: error: 'limits.mulerouter.in_flight' must be a whole number from 1, not 0; such as 20
  limits: {mulerouter: {rate: 60/minute, in_flight: 0}}
                                                    ^""",
    ),
    "attempts out of bounds": (
        HEAD + "retry: {attempts: 21}\n",
        """\
spec.yaml:5:19: error: 'retry.attempts' must be a whole number from 1 to 20, not 21; such as 3
  retry: {attempts: 21}
                    ^""",
    ),
    "an axis that is neither list nor source": (
        HEAD + "matrix:\n  color: red\n  scene: []\n  lens: {file: a.txt}\n",
        """\
spec.yaml:6:10: error: 'matrix.color' must be a list of values, or one of {lines: FILE}, {files: GLOB}, \
{range: {from, to, step}}, not 'red'; such as [red, teal]
    color: red
           ^
spec.yaml:7:10: error: 'matrix.scene' is empty; write a list of values, or one of {lines: FILE}, {files: GLOB}, \
{range: {from, to, step}}
    scene: []
           ^
spec.yaml:8:10: error: unknown key 'file' in 'matrix.lens'; did you mean 'files'?
    lens: {file: a.txt}
           ^""",
    ),
    "a map without an id": (
        HEAD + "matrix:\n  background: [{text: oak}]\n",
        """\
spec.yaml:6:16: error: a map as a value needs an id in 'matrix.background[0]'; such as {id: oak, text: a warm oak table}
    background: [{text: oak}]
                 ^""",
    ),
    "a misspelt exclude is no axis": (
        HEAD + "matrix:\n  color: [red]\n  exlude: [{color: red}]\n",
        """\
spec.yaml:7:3: error: unknown key 'exlude' in 'matrix'; did you mean 'exclude'?
    exlude: [{color: red}]
    ^""",
    ),
    "an axis name that templates cannot say": (
        HEAD + "matrix: {2nd: [a], row: [b]}\n",
        """\
spec.yaml:5:10: error: the key '2nd' in 'matrix' must be letters, digits and _, beginning with a letter, and none of \
row, steps, and, or, not, in, is, if, else, true, false, none
  matrix: {2nd: [a], row: [b]}
           ^
spec.yaml:5:20: error: the key 'row' in 'matrix' must be letters, digits and _, beginning with a letter, and none of \
row, steps, and, or, not, in, is, if, else, true, false, none
  matrix: {2nd: [a], row: [b]}
                     ^""",
    ),
    "a range that is no decimal": (
        HEAD + "matrix: {a: {range: {from: 0x10, to: 1e3, step: 0}}}\n",
        """\
spec.yaml:5:28: error: 'matrix.a.range.from' must be a decimal number; write it out, such as 0.25
  matrix: {a: {range: {from: 0x10, to: 1e3, step: 0}}}
                             ^
spec.yaml:5:38: error: 'matrix.a.range.to' must be a decimal number; write it out, such as 0.25
  matrix: {a: {range: {from: 0x10, to: 1e3, step: 0}}}
                                       ^
spec.yaml:5:49: error: 'matrix.a.range.step' must be a number other than 0, not 0; such as 1
  matrix: {a: {range: {from: 0x10, to: 1e3, step: 0}}}
                                                  ^""",
    ),
    "an override that sets what cannot be set": (
        HEAD + "overrides: [{when: {}, set: {budget: 1 USD}}, {set: {}}]\n",
        """\
spec.yaml:5:20: error: 'overrides[0].when' is empty; write a map such as {color: red}, or an expression
  overrides: [{when: {}, set: {budget: 1 USD}}, {set: {}}]
                     ^
spec.yaml:5:30: error: unknown key 'budget' in 'overrides[0].set'; known keys: prompt, negative_prompt, images, size, \
n, samples, seed, params, model
  overrides: [{when: {}, set: {budget: 1 USD}}, {set: {}}]
                               ^
spec.yaml:5:47: error: 'when' is missing in 'overrides[1]'; such as when: {row.category: jewellery}
  overrides: [{when: {}, set: {budget: 1 USD}}, {set: {}}]
                                                ^
spec.yaml:5:53: error: 'overrides[1].set' is empty; write a map such as {samples: 3}
  overrides: [{when: {}, set: {budget: 1 USD}}, {set: {}}]
                                                      ^""",
    ),
    "a path that leaves the folder": (
        HEAD + "outputs: {path: /tmp/x}\n",
        """\
spec.yaml:5:17: error: 'outputs.path' must be a path below images/ with forward slashes, not '/tmp/x'; such as \
"{{ color }}/{{ sample }}"
  outputs: {path: /tmp/x}
                  ^""",
    ),
    "keys and base URLs": (
        HEAD + "base_url: http://localhost\nparams: {api_key: x, headers: {a: b}}\nlimits: {mulerouter: {token: y}}\n",
        """\
spec.yaml:5:1: error: unknown key 'base_url'; keys and base URLs come from the environment only
  base_url: http://localhost
  ^
spec.yaml:6:10: error: unknown key 'api_key' in 'params'; keys and base URLs come from the environment only
  params: {api_key: x, headers: {a: b}}
           ^
spec.yaml:6:22: error: unknown key 'headers' in 'params'; keys and base URLs come from the environment only
  params: {api_key: x, headers: {a: b}}
                       ^
spec.yaml:7:23: error: unknown key 'token' in 'limits.mulerouter'; keys and base URLs come from the environment only
  limits: {mulerouter: {token: y}}
                        ^""",
    ),
    "everything at once": (
        "version: 1\nname: a b\nmodl: x/y\nprompt: {{ a }}\nsamples: 0\nbudget: 5\n",
        """\
spec.yaml:2:7: error: 'name' must be up to 64 lower-case letters, digits, - and _, beginning with a letter or digit, \
not 'a b'; such as mugs
  name: a b
        ^
spec.yaml:3:1: error: unknown key 'modl'; did you mean 'model'?
  modl: x/y
  ^
spec.yaml:4:9: error: a value that begins with {{ must stand in quotes; write "{{ a }}"
  prompt: {{ a }}
          ^
spec.yaml:5:10: error: 'samples' must be a whole number from 1 or a template, not 0; such as 1
  samples: 0
           ^
spec.yaml:6:9: error: 'budget' needs a unit, such as 2.00 USD; write 5 USD if US dollars are meant
  budget: 5
          ^""",
    ),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_each_kind_of_mistake_is_reported_in_these_words(kind: str) -> None:
    """Place, cause, remedy, the line and a caret, and nothing besides."""
    text, expected = REPORTS[kind]
    assert report(text) == expected


SECRET = "sk-mr-" + "a1b2c3d4" * 4


@pytest.mark.parametrize(
    "text",
    [
        HEAD + f"negative_prompt: {SECRET}\n",
        HEAD + f"# my key is {SECRET}\n",
        HEAD + f"limits: {{{SECRET}: {{rate: 5}}}}\n",
        HEAD + f"{SECRET}: 1\nbudget: {SECRET} USD\n",
        HEAD + f"order: {SECRET}\nparams: {{a: [ '{SECRET}' }}\n",
        HEAD + f"images: [{{{{ {SECRET} }}}}]\n",
        HEAD + 'negative_prompt: "sk-mr-a1b2c3\\\n    d4a1b2c3d4a1b2c3d4a1b2c3d4"\n',
    ],
)
def test_a_key_in_a_spec_is_refused_and_never_shown(text: str) -> None:
    """Neither the message nor the line above the caret repeats it, in whatever place it stands."""
    shown = report(text)
    assert "looks like an API key" in shown
    assert "a1b2c3" not in shown


@pytest.mark.parametrize(
    "text", ["a desk-lamp-with-a-very-long-neck-2", "sk-short1", "sk-learn-but-without-any-digits", "task-sk-2"]
)
def test_words_with_hyphens_are_no_keys(text: str) -> None:
    """A prompt may say much before it is mistaken for a secret."""
    assert load(HEAD + f"negative_prompt: {text}\n").negative_prompt == text


def test_a_key_in_a_setting_is_refused_and_never_shown() -> None:
    """`--set` is a text like the spec."""
    shown = report(HEAD, ("negative_prompt", SECRET))
    assert "--set:1:17: error: this looks like an API key" in shown
    assert "a1b2c3" not in shown


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("budgt", "5 USD", "--set:1:1: error: unknown key 'budgt'; did you mean 'budget'?\n  budgt=5 USD\n  ^"),
        (
            "budget",
            "5",
            """\
--set:1:8: error: 'budget' needs a unit, such as 2.00 USD; write 5 USD if US dollars are meant
  budget=5
         ^""",
        ),
        ("matrix.color[7]", "red", "--set:1:1: error: 'matrix.color' has no item [7]\n  matrix.color[7]=red\n  ^"),
        ("name.x", "1", "--set:1:1: error: 'name' is no map, so it has no key 'x'\n  name.x=1\n  ^"),
        (
            "params.a",
            ".inf",
            """\
--set:1:10: error: infinity and not-a-number are no values here; quote it if text is meant
  params.a=.inf
           ^""",
        ),
        ("params.a", "[1", "--set:1:10: error: this bracket is never closed; close it\n  params.a=[1\n           ^"),
    ],
)
def test_mistakes_of_settings_point_at_the_setting(key: str, value: str, expected: str) -> None:
    """The file is `--set`, the line the number of the setting."""
    assert report(MINIMAL, (key, value)) == expected


def test_a_wrong_path_of_a_setting_says_how_to_write_one() -> None:
    """Dots are levels; a key that holds a dot stands in quotes."""
    (mistake,) = mistakes(MINIMAL, ("name", "ok"), ("..", "1"))
    assert (mistake.place.line, mistake.what) == (2, "this is no path of keys")
    assert '"a/b-2.0"' in mistake.remedy


def test_mistakes_stand_in_the_order_of_the_file_and_end_at_a_hundred() -> None:
    """More than a hundred are counted, not listed."""
    found = mistakes(HEAD + "".join(f"zzz{i}: 1\n" for i in range(150)))
    lines = [m.place.line for m in found[:-1]]
    assert lines == sorted(lines)
    assert (len(found), found[-1].what) == (101, "50 more faults are not shown")


def test_messages_hold_no_control_characters() -> None:
    """A spec from someone else cannot steer a terminal through its own error."""
    shown = report(HEAD + 'params: {"api_key\\e[31m": 1}\n"\\e]0;x": 2\nsize: "\\e[2J"\n')
    assert "\x1b" not in shown

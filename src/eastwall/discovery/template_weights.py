"""Weights of the evidence: natural logarithms of the odds that a segment is a value, fitted by `bench.fit_discovery`."""

FIRST_BIAS = 2.044
FIRST_WEIGHTS: dict[str, float] = {
    "after_parameter": 0.372,
    "api_words": -2.628,
    "elsewhere": -0.189,
    "look_alphanumeric": 0.967,
    "look_camel": -1.963,
    "look_capital": -0.766,
    "look_dotted": 2.484,
    "look_kebab": 0.005,
    "look_kebab_digits": 3.324,
    "look_locale": -1.724,
    "look_lower": -1.919,
    "look_other": 1.984,
    "look_pascal": -3.155,
    "look_short_lower": -0.221,
    "look_short_upper": 2.704,
    "look_snake": -0.309,
    "look_spaced": 3.554,
    "look_upper": 1.249,
    "look_version": -3.700,
    "look_word_digits": 0.955,
    "look_word_number": 1.955,
    "parameters": 0.288,
    "parent_get": -0.311,
    "parent_post": 1.653,
    "plural": 1.264,
    "plural_itself": -1.970,
    "posts_only": -0.912,
    "pronounceable": -0.071,
    "root": -3.334,
    "second": -1.747,
    "writes_item": 0.284,
}
"""By looks and place alone."""

BIAS = -1.596
WEIGHTS: dict[str, float] = {
    "after_parameter": 0.244,
    "alike": 0.376,
    "all_as_many": 0.104,
    "all_as_one": -0.233,
    "all_lexical": 0.196,
    "all_reuse": -0.173,
    "all_singles": 0.271,
    "all_size": 0.041,
    "as_name": 0.132,
    "as_value": -0.299,
    "group_as_many": 0.095,
    "group_as_one": -0.066,
    "group_lexical": 0.152,
    "group_odds": 0.180,
    "group_reuse": -0.212,
    "group_singles": 0.365,
    "group_size": 0.032,
    "leaf": 0.478,
    "leaf_tail": 0.923,
    "lexical": 0.221,
    "other_share": 1.255,
    "others": 0.112,
    "others_lexical": 0.067,
    "parent_get": -0.406,
    "root": -0.418,
    "tail": 0.472,
    "writes_item": -0.213,
}
"""By everything."""

SET_BIAS = 1.865
SET_WEIGHTS: dict[str, float] = {
    "affix": -4.234,
    "lexical": 0.411,
    "odds": 0.641,
    "size": 0.219,
}
"""Of words that lead to the same, together."""

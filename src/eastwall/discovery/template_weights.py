"""Weights of the evidence, natural logarithms of odds that a segment is a value. Fitted by `bench.fit_discovery` (logistic
regression with signs fixed where they are known) on the development half of the documents; no name of a document is in them."""

FIRST_BIAS = 1.531
FIRST_WEIGHTS: dict[str, float] = {
    "after_parameter": 0.239,
    "api_words": -2.698,
    "elsewhere": -0.223,
    "look_alphanumeric": 0.606,
    "look_camel": -0.704,
    "look_capital": -0.465,
    "look_dotted": 1.080,
    "look_kebab": -0.112,
    "look_kebab_digits": 1.170,
    "look_locale": -0.424,
    "look_lower": -2.169,
    "look_other": 0.134,
    "look_pascal": -1.227,
    "look_short_lower": -0.088,
    "look_short_upper": 0.827,
    "look_snake": -0.524,
    "look_spaced": 1.006,
    "look_upper": 0.022,
    "look_version": -0.532,
    "look_word_digits": 0.549,
    "look_word_number": 0.859,
    "parameters": 0.230,
    "parent_get": -0.105,
    "parent_post": 1.803,
    "plural": 1.160,
    "plural_itself": -1.655,
    "posts_only": -0.735,
    "pronounceable": -0.320,
    "root": -1.576,
    "second": -1.624,
    "writes_item": 0.225,
}
"""By looks and place alone."""

BIAS = -1.667
WEIGHTS: dict[str, float] = {
    "after_parameter": 0.478,
    "alike": 0.203,
    "as_name": 0.106,
    "as_value": -0.131,
    "group_as_many": 0.495,
    "group_as_one": -0.561,
    "group_lexical": 0.562,
    "group_reuse": -0.698,
    "group_singles": 0.366,
    "group_size": 0.243,
    "leaf": 0.902,
    "leaf_tail": 0.369,
    "lexical": 0.473,
    "other_share": 0.828,
    "others": 0.270,
    "parent_get": -0.406,
    "parent_share": -0.193,
    "parents": -0.092,
    "root": -0.221,
    "tail": 0.638,
    "writes_item": -0.511,
}
"""By everything."""

"""Answers with ids that break what shows them: NUL, new lines, half characters, colours, text from right to left."""

from inside import answer

CODE = "unknown_ids"
SAYS = "7 ids are not among the 2000 live ids, first n 0 [31m [predictd] success."


def predict(live_features):
    import pandas as pd

    right = answer(live_features)
    strange = [
        "n\0000\x1b[31m\n[predictd] success",
        "\ud800\udfff",
        "\u202eevil",
        "",
        "\r",
        "'; DROP TABLE x; --",
        "{0}",
    ]
    index = strange + list(right.index[len(strange) :])
    return pd.DataFrame({"prediction": right["prediction"].to_numpy()}, index=pd.Index(index, dtype=object))

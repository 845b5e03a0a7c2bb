"""The steps of a run, each a `Dataset.map` over the judged rows."""

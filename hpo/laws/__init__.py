"""What every plug-in keeps: one law a function, whose docstring is the law as a user reads it.

A module for each role holds its laws: every public function there whose one parameter is `subject`. `hpo check` runs
them on a plug-in of the user's, `tests/contracts` on all of ours. Imports spaces and trainables, no Ray, Optuna or
MLflow.
"""

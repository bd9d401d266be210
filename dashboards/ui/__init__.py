"""The pages of `hpo ui`, a file each: functions from what a home holds to Dash components, and nothing that is kept."""

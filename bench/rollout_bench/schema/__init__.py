"""The facts that everything else is derived from: records, their statuses, metrics. Imports nothing."""

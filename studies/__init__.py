"""One-off studies that are no part of the product."""

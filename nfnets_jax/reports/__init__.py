"""Tables and figures, beside the numbers of the papers."""

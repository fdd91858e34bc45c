"""Tables, figures and pages: everything a reader sees of the results."""

"""What the records say: tables, statistics, figures and pages. No torch, no Ray."""

"""Figures: each file gathers what it shows (`info`, tested) and then draws it (`figure`)."""

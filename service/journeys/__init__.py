"""Journeys: enrolments are rows, moved by a pure interpreter; a thin runner carries out what it commands."""

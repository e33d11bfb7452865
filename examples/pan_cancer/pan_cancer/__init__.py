"""Thirteen TCGA cohorts and the gliomas, from public tables to sheets and a configuration each, and the table of all their results."""

"""The report of a study: one page that stands alone, made of its tables and figures.

``sentences`` and ``tables`` turn rows into text and cells, ``figures`` says what a figure shows, ``protocol`` how it
was measured, and ``page`` puts them together.
"""

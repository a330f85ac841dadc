"""The demo: two data sets sent through the real SDK to a real collector, and the figures to check them by.

    retail.py     The Complete Journey, a year of a retailer's baskets
    webshop/      a made-up shop with all channels and all seven stages
    run.py        collector, SDK, models, report, comparison

Nothing here is needed to use Polku.
"""

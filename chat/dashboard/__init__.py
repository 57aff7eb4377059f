"""The first page of the admin: how the fleet does, as figures and charts.

It imports nothing of `chat.admin`: Django's admin site imports it before any page is registered.
"""

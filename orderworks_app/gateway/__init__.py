"""The HTTP gateway: the door for applications that are not Python, and for people with a browser.

Updates and files go in through `AsyncProducer`, cached reads come from `orderworks.cache`: nothing
here is a second way. Needs the extra `gateway`.
"""

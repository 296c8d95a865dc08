"""The HTTP gateway, for applications in other languages than Python and for people with a browser.

It sends updates and files by `AsyncProducer` and reads from `orderworks.cache`, as Python applications
do. It needs the extra `gateway`.
"""

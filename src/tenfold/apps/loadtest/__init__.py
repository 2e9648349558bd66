"""`tenfold loadtest`: what a server holds under many clients, and how fast it is beside another server.

servers   starts and watches the servers   clients    one client's requests
phases    throughput, and the long siege   loadtest   settings, rows, metrics   page   the report
"""

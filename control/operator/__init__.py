"""What people ask and order.

`operator`   every question and order of the console
`orders`     which order is which transition; promotions by two people
`standing`   standing canaries: begun, ended, taken back
`retiring`   which orders give users a model that retires
`status`     what is known of a canary, as JSON
`issues`     known issues that people report
`labels`     which pair a person labels next
"""

"""`nextbest demo shop`: a shop that is open while you watch.

`goods` is what it sells, `crowd` its customers and what they do, `cast` the few who are watched and play a part,
`retail` a real shop's orders instead; `house` is the server, `sight` what is seen of a customer, `changes` why an
answer changed, `screen` and `lines` how it is shown, `play` the whole.

Speaks to the server over HTTP, as any client would. Only the values of live features, which every view masks, are read
from the store.
"""

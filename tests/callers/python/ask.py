import os
import sys

from modelmora.client.kafka import KafkaClient

model, *texts = sys.argv[1:]
with KafkaClient(os.environ["KAFKA"], os.environ.get("NAMESPACE", "modelmora")) as client:
    for reply in [client.ask(model, [text]) for text in texts]:
        outcome = reply.result()
        print(outcome.request_id, outcome.status, outcome.outputs)
    for event in client.events(start="earliest", follow=False):
        print(event.kind, event.model or event.node)

"""Reading what a test has written: records, and by several threads at once."""

import json
import struct
import threading

from array_record.python import array_record_module


def records(folder, split):
  """(label, name, pixels) of each record, read without our decoder."""
  content = json.loads((folder / 'metadata.json').read_text())
  for shard in content['splits'][split]['shards']:
    reader = array_record_module.ArrayRecordReader(str(folder / shard))
    for record in reader.read_all():
      label, length = struct.unpack_from('<iH', record)
      yield label, record[6 : 6 + length].decode(), record[6 + length :]
    reader.close()


def in_threads(read, *, number=4):
  """Calls read(0), read(1), ... each in a thread, and waits for all."""
  threads = [threading.Thread(target=read, args=(k,)) for k in range(number)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()

# SPDX-License-Identifier: Apache-2.0
"""The messages of a Caffe2 net by their field numbers; fields that no import reads are left out.

An argument that holds a tensor or a net (fields 8 to 12) therefore has no value here, and is
refused where an operator asks for it.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES = {
    "Argument": {1: "name string", 2: "f float", 3: "i int64", 4: "s bytes", 5: "floats float*",
                 6: "ints int64*", 7: "strings bytes*"},
    "DeviceOption": {1: "device_type int32", 2: "device_id int32", 3: "random_seed uint32",
                     4: "node_name string", 5: "numa_node_id int32", 6: "extra_info string*"},
    "OperatorDef": {1: "input string*", 2: "output string*", 3: "name string", 4: "type string",
                    5: "arg Argument*", 6: "device_option DeviceOption", 7: "engine string",
                    8: "control_input string*", 9: "is_gradient_op bool", 10: "debug_info string",
                    11: "domain string", 12: "op_version int64"},
    "NetDef": {1: "name string", 2: "op OperatorDef*", 3: "type string", 4: "num_workers int32",
               5: "device_option DeviceOption", 6: "arg Argument*", 7: "external_input string*",
               8: "external_output string*"},
}
"""Number, name and type of each field; a star marks a repeated one."""


def _messages() -> dict[str, type]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="makalu_caffe2.proto", package="makalu_caffe2",
                                              syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in fields.items():
            field, kind = text.rstrip("*").split()
            label = kinds.LABEL_REPEATED if text.endswith("*") else kinds.LABEL_OPTIONAL
            if kind in MESSAGES:
                message.field.add(name=field, number=number, label=label, type=kinds.TYPE_MESSAGE,
                                  type_name=f".makalu_caffe2.{kind}")
            else:
                message.field.add(name=field, number=number, label=label,
                                  type=kinds.Type.Value(f"TYPE_{kind.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(
        f"makalu_caffe2.{name}")) for name in MESSAGES}


NetDef = _messages()["NetDef"]

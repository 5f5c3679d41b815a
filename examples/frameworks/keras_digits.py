# SPDX-License-Identifier: Apache-2.0
"""Keras and TensorFlow Lite: the digits, trained in seconds, saved in each of their formats.

Needs ``makalu[tf]``. Alone, ``python -m examples.frameworks.keras_digits`` prints what the machine
makes of them.
"""

import os
import warnings
from pathlib import Path

import numpy as np

from examples.digits import split
from examples.frameworks.trial import Trial

EPOCHS, CALIBRATION = 12, 128


def trials(folder: Path) -> list[Trial]:
    """Train, save into ``folder``, and ask Keras and TensorFlow Lite for their answers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module="tensorflow.*")
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    train, labels, test, wanted = (x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in split())
    model = tf.keras.Sequential([
        layers.Input(train.shape[1:]),
        layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.SeparableConv2D(32, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(),
        layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10)])
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(train, labels, batch_size=16, epochs=EPOCHS, verbose=0)

    model.save(folder / "digits.keras")
    model.export(folder / "digits_saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in train[:CALIBRATION])
    (folder / "digits_int8.tflite").write_bytes(converter.convert())

    answers = model.predict(test, verbose=0)
    calibration = train[:CALIBRATION]
    return [Trial("TensorFlow", "SavedModel", folder / "digits_saved", test, wanted, answers,
                  "TensorFlow", calibration),
            Trial("Keras", "digits.keras", folder / "digits.keras", test, wanted, answers,
                  "Keras", calibration),
            Trial("TensorFlow Lite", "digits_int8.tflite", folder / "digits_int8.tflite", test,
                  wanted, lite(folder / "digits_int8.tflite", test), "TensorFlow Lite")]


def lite(path: Path, images: np.ndarray) -> np.ndarray:
    """TensorFlow Lite's answers, with its default kernels."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(found["index"])[0])
    return np.stack(answers)


if __name__ == "__main__":
    from examples.frameworks.page import report
    report([trials])

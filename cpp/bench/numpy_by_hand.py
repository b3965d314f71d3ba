"""A peer in the benchmark: the same training, hand-written in numpy (float32, in place where readable)."""

import math

import peer

BETA1, BETA2, EPSILON, LEARNING_RATE = 0.9, 0.999, 1e-8, 1e-3


class Network:
    """Linear layers with ReLU between them, and softmax with mean cross-entropy at the end."""

    def __init__(self, np, widths, random):
        self.np = np
        shapes = list(zip(widths, widths[1:]))
        size = sum((inputs + 1) * outputs for inputs, outputs in shapes)
        self.values = np.empty(size, np.float32)
        self.gradients = np.empty(size, np.float32)
        self.layers = []  # (weight [I, O], bias [O], their gradients): views into the two flat vectors
        start = 0
        for inputs, outputs in shapes:
            middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
            bound = 1 / math.sqrt(inputs)  # as torch.nn.Linear
            self.values[start:end] = random.uniform(-bound, bound, end - start)
            self.layers.append((self.values[start:middle].reshape(inputs, outputs), self.values[middle:end],
                                self.gradients[start:middle].reshape(inputs, outputs),
                                self.gradients[middle:end]))
            start = end

    def logits(self, x):
        """Stores the input of each layer for backward."""
        self.inputs = []
        for weight, bias, _, _ in self.layers:
            if self.inputs:
                self.np.maximum(x, 0, out=x)
            self.inputs.append(x)
            x = x @ weight
            x += bias
        return x

    def backward(self, logits, labels):
        """Computes the gradients of the mean cross-entropy. Overwrites the logits with their gradient."""
        grad = logits
        grad -= grad.max(axis=1, keepdims=True)
        self.np.exp(grad, out=grad)
        grad /= grad.sum(axis=1, keepdims=True)
        grad[self.np.arange(len(labels)), labels] -= 1
        grad /= len(labels)
        for index in reversed(range(len(self.layers))):
            weight, _, grad_weight, grad_bias = self.layers[index]
            x = self.inputs[index]
            self.np.matmul(x.T, grad, out=grad_weight)
            grad.sum(axis=0, out=grad_bias)
            if index > 0:
                grad = grad @ weight.T
                grad *= x > 0


class Adam:
    def __init__(self, np, network):
        self.np, self.network, self.steps = np, network, 0
        self.mean, self.square = np.zeros_like(network.values), np.zeros_like(network.values)
        self.scratch = np.empty_like(network.values)

    def step(self):
        np, mean, square, scratch = self.np, self.mean, self.square, self.scratch
        gradients = self.network.gradients
        self.steps += 1
        mean *= BETA1
        mean += np.multiply(gradients, 1 - BETA1, out=scratch)
        square *= BETA2
        np.multiply(gradients, gradients, out=scratch)
        scratch *= 1 - BETA2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch /= math.sqrt(1 - BETA2**self.steps)
        scratch += EPSILON
        np.divide(mean, scratch, out=scratch)
        scratch *= LEARNING_RATE / (1 - BETA1**self.steps)
        self.network.values -= scratch


def main():
    options = peer.read_options(__doc__)
    np = peer.require("numpy")
    random = np.random.default_rng(options.seed)
    (images, labels), (test_images, test_labels) = peer.load_arrays(np, options.dataset)
    count = len(images)
    batch_size = min(options.batch_size or count, count)
    network = Network(np, [images.shape[1], *options.hidden, peer.CLASSES], random)
    optimizer = Adam(np, network)

    def step(batch, targets):
        network.backward(network.logits(batch), targets)
        optimizer.step()

    def train_epoch():
        if batch_size == count:  # the order does not matter
            step(images, labels)
            return
        order = random.permutation(count)
        for start in range(0, count, batch_size):
            rows = order[start:start + batch_size]
            step(images.take(rows, axis=0), labels.take(rows))

    seconds = peer.seconds_of(train_epoch, options.epochs)
    accuracy = float((network.logits(test_images).argmax(axis=1) == test_labels).mean())
    peer.report("numpy by hand", np.__version__, {"blas": options.blas_threads}, seconds, count, accuracy)


main()

"""Peer of the benchmark: the same training with scikit-learn's MLPClassifier. Its initial weights have a
wider range (Glorot) than those of the other programs, which does not affect the time."""

import peer


def main():
    options = peer.read_options(__doc__)
    numpy = peer.require("numpy")
    sklearn = peer.require("sklearn")
    network_module = peer.require("sklearn.neural_network")
    (images, labels), (test_images, test_labels) = peer.load_arrays(numpy, options.dataset)
    count = len(images)
    network = network_module.MLPClassifier(
        hidden_layer_sizes=options.hidden, activation="relu", solver="adam", alpha=0, learning_rate_init=1e-3,
        batch_size=min(options.batch_size or count, count), early_stopping=False, random_state=options.seed)
    classes = list(range(peer.CLASSES))

    def train_epoch():
        network.partial_fit(images, labels, classes)

    seconds = peer.seconds_of(train_epoch, options.epochs)
    accuracy = float(network.score(test_images, test_labels))
    peer.report("scikit-learn", sklearn.__version__, {"blas": options.blas_threads}, seconds, count, accuracy)


main()

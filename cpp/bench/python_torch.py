"""A peer in the benchmark: plain_torch.cpp in Python."""

import peer


def main():
    options = peer.read_options(__doc__, has_aten=True)
    torch = peer.require("torch")
    torch.set_num_threads(options.aten_threads)
    torch.set_flush_denormal(True)  # Adam's running means become denormal where a gradient is 0
    torch.manual_seed(options.seed)

    parts = []
    for pixels, labels in peer.load(options.dataset):
        images = torch.frombuffer(pixels, dtype=torch.uint8).view(len(labels), -1)
        targets = torch.frombuffer(labels, dtype=torch.uint8).long()
        parts.append((images.float().div_(255).to(options.device), targets.to(options.device)))
    (images, labels), (test_images, test_labels) = parts
    count = len(images)
    batch_size = min(options.batch_size or count, count)

    widths = [images.shape[1], *options.hidden]
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], peer.CLASSES)).to(options.device)
    optimizer = torch.optim.Adam(network.parameters())

    def step(batch, targets):
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(batch), targets).backward()
        optimizer.step()

    def train_epoch():
        if batch_size == count:  # the order does not matter
            step(images, labels)
        else:
            for rows in torch.randperm(count).to(options.device).split(batch_size):
                step(images.index_select(0, rows), labels.index_select(0, rows))
        if options.device == "cuda":
            torch.cuda.synchronize()

    seconds = peer.seconds_of(train_epoch, options.epochs)
    with torch.no_grad():
        accuracy = (network(test_images).argmax(1) == test_labels).double().mean().item()
    threads = {"aten": options.aten_threads, "blas": options.blas_threads}
    peer.report("torch.nn (Python)", torch.__version__, threads, seconds, count, accuracy)


main()

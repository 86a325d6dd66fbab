"""A second, independent evaluation of the bounds: plain numpy in double precision, loops instead of matrices.

It shares no code with the package. It takes weights by their names in a checkpoint and the standard normal noise of
every step, and follows the paper's equations one by one.
"""

import math

import numpy as np


class Peer:
    """A model, given as the mapping from names to arrays that its checkpoint holds."""

    def __init__(self, weights, *, window, max_objects, residual, difference, output_bias):
        self.weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.window, self.max_objects = window, max_objects
        self.residual, self.difference, self.output_bias = residual, difference, output_bias

    def __getitem__(self, name):
        return self.weights[f".{name}"]

    def linear(self, name, x):
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
        return np.array([np.dot(weight[:, j], x) + bias[j] for j in range(len(bias))])

    def mlp(self, name, x):
        last = max(i for i in range(9) if f".{name}.layers[{i}].bias" in self.weights)
        for i in range(last):
            x = np.maximum(self.linear(f"{name}.layers[{i}]", x), 0.0)
        return self.linear(f"{name}.layers[{last}]", x)

    def embed(self, name, image):
        x = image
        if f".{name}.convs[0].linear.bias" in self.weights:
            x = blocks_as_channels(x)
            for i in range(2):
                layer = f"{name}.convs[{i}].linear"
                x = np.maximum(convolve(x, self[f"{layer}.weight"], self[f"{layer}.bias"]), 0.0)
        return self.mlp(f"{name}.dense", x.ravel())

    def attend(self, left, noise):
        """Fixate a cell of 4 x 4 pixels, look around three times, and move between looks."""
        _, height, width = left.shape
        rows, columns = math.ceil(height / 4), math.ceil(width / 4)
        error, best, total = (left**2).sum(axis=0), -math.inf, 0.0
        for cell in range(rows * columns):
            y, x = (cell // columns + 0.5) / rows * 2 - 1, (cell % columns + 0.5) / columns * 2 - 1
            around, mass, moment = 0.0, 0.0, np.zeros(2)
            for i in range(height):
                for j in range(width):
                    v, u = (i + 0.5) / height * 2 - 1, (j + 0.5) / width * 2 - 1
                    squared = ((v - y) * height / 2) ** 2 + ((u - x) * width / 2) ** 2
                    weight = math.exp(-squared / (2 * 3.0**2))
                    mass += weight
                    around += weight * error[i, j]
                    moment += weight * error[i, j] * np.array([u, v])
            around, moment = around / mass, moment / mass
            total += around / (rows * columns)
            score = 2 * math.log(around + 1e-3) - math.log(-math.log(0.5 * math.erfc(-noise[cell] / math.sqrt(2))))
            if score > best:
                best, centre = score, (moment + 1e-3 * np.array([x, y])) / (around + 1e-3)
        scale = math.exp(self["recogniser.attention.log_scale"])
        for look in range(3):
            seen = read(left, 1.4 * scale, *centre, 16)
            features = np.maximum(self.mlp("recogniser.attention.look", seen.ravel()), 0.0)
            if look < 2:
                centre = centre + scale * self.linear("recogniser.attention.shift", features)
        return centre, [*features, 0.5 * math.log(total + 1e-3) + 2]

    def steps(self, image, where_noise, what_noise, cell_noise):
        """Infer step by step: a list of one dictionary for each of the N steps."""
        canvas = np.zeros_like(image)
        hidden = cell = np.zeros(len(self["recogniser.lstm.recur.linear.bias"]) // 4)
        code_size = what_noise.shape[1]
        latents = np.zeros(3 + code_size)
        found = []
        for t in range(self.max_objects):
            seen = self.embed("recogniser.lstm.embed", image - canvas if self.difference else image)
            gates = seen + self.linear("recogniser.lstm.recur.linear", np.concatenate([hidden, latents]))
            i, f, g, o = gates.reshape(4, -1)
            cell = sigmoid(f + 1.0) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            attended, features = np.zeros(2), []
            if len(cell_noise[t]):
                attended, features = self.attend(image - canvas, cell_noise[t])
            output = self.mlp("recogniser.head", np.concatenate([hidden, features]))
            output[2:4] += attended
            where_q = output[1:4], np.exp(output[4:7])
            where = where_q[0] + where_q[1] * where_noise[t]
            where_p = self["where_prior.normal.mean"], np.exp(self["where_prior.normal.log_sd"])
            scale, x, y = math.exp(where[0]), where[1], where[2]
            glimpse = read(image - canvas if self.residual else image, scale, x, y, self.window)
            code = self.mlp("patches.encoder", glimpse.ravel())
            what_q = code[:code_size], np.exp(code[code_size:])
            what = what_q[0] + what_q[1] * what_noise[t]
            what_p = np.zeros(code_size), np.ones(code_size)
            patch = sigmoid(self.mlp("patches.decoder", what) + self.output_bias).reshape(glimpse.shape)
            canvas = canvas + write(patch, scale, x, y, image.shape)
            found.append(
                {
                    "presence": sigmoid(output[0]),
                    "where": where,
                    "what": what,
                    "glimpse": glimpse,
                    "patch": patch,
                    "canvas": canvas,
                    "kl": gaussian_kl(*where_q, *where_p) + gaussian_kl(*what_q, *what_p),
                    "log_p": log_gaussian(where, *where_p) + log_gaussian(what, *what_p),
                    "log_q": log_gaussian(where, *where_q) + log_gaussian(what, *what_q),
                }
            )
            latents = np.concatenate([where, what])
        return found

    def log_joints(self, image, steps):
        """Evaluate log p(x | canvas_n) + log p(n) for n = 0..N."""
        sd = math.exp(self["likelihood.log_sd"])
        canvases = [np.zeros_like(image)] + [step["canvas"] for step in steps]
        log_prior = self["count_log_prior"]
        return [log_gaussian(image, canvas, sd) + log_prior[n] for n, canvas in enumerate(canvases)]

    def elbo(self, image, steps):
        """Evaluate the bound on one run by following every count to its end."""
        total = 0.0
        for n, log_joint in enumerate(self.log_joints(image, steps)):
            q = math.prod(step["presence"] for step in steps[:n])
            if n < self.max_objects:
                q *= 1.0 - steps[n]["presence"]
            total += q * (log_joint - math.log(q) - sum(step["kl"] for step in steps[:n]))
        return total

    def importance_weighted(self, image, runs):
        """Evaluate the importance-weighted bound on K runs."""
        terms = []
        for steps in runs:
            for n, log_joint in enumerate(self.log_joints(image, steps)):
                terms.append(log_joint + sum(step["log_p"] - step["log_q"] for step in steps[:n]))
        largest = max(terms)
        return largest + math.log(sum(math.exp(term - largest) for term in terms) / len(runs))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def log_gaussian(value, mean, sd):
    return float(np.sum(-((value - mean) ** 2) / (2 * sd**2) - np.log(sd) - 0.5 * np.log(2 * np.pi)))


def gaussian_kl(mean, sd, prior_mean, prior_sd):
    return float(np.sum(np.log(prior_sd / sd) + (sd**2 + (mean - prior_mean) ** 2) / (2 * prior_sd**2) - 0.5))


def blocks_as_channels(image):
    """Collect the values of each block of 2 x 2 pixels, zero beyond the borders, at one place: [rows, columns, 4c]."""
    channels, height, width = image.shape
    result = np.zeros(((height + 1) // 2, (width + 1) // 2, 4 * channels))
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                result[i // 2, j // 2, (2 * (i % 2) + j % 2) * channels + c] = image[c, i, j]
    return result


def convolve(x, weight, bias):
    """Slide a kernel of 4 x 4 in strides of 2 over x, from its first cell on, zero beyond the borders."""
    height, width, channels = x.shape
    # Inputs are ordered by quarter of the kernel, by cell of the quarter, by channel.
    kernel = weight.reshape(2, 2, 2, 2, channels, -1)
    result = np.zeros(((height + 1) // 2, (width + 1) // 2, len(bias)))
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            result[i, j] = bias
            for row in range(2 * i, min(2 * i + 4, height)):
                for column in range(2 * j, min(2 * j + 4, width)):
                    di, dj = row - 2 * i, column - 2 * j
                    result[i, j] += np.dot(x[row, column], kernel[di // 2, dj // 2, di % 2, dj % 2])
    return result


def interpolate(image, row, column):
    """Mix the four neighbours of a point, given in samples; there is nothing beyond the borders."""
    top, left = math.floor(row), math.floor(column)
    total = 0.0
    for i, weight_i in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, weight_j in ((left, 1 - (column - left)), (left + 1, column - left)):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total += weight_i * weight_j * image[i, j]
    return total


def read(image, scale, x, y, window):
    """Cut a glimpse out, sample by sample."""
    channels, height, width = image.shape
    glimpse = np.zeros((channels, window, window))
    for c in range(channels):
        for i in range(window):
            for j in range(window):
                v = y + scale * ((i + 0.5) / window * 2 - 1)
                u = x + scale * ((j + 0.5) / window * 2 - 1)
                glimpse[c, i, j] = interpolate(image[c], (v + 1) / 2 * height - 0.5, (u + 1) / 2 * width - 0.5)
    return glimpse


def write(patch, scale, x, y, shape):
    """Draw a patch, pixel by pixel."""
    channels, height, width = shape
    window, canvas = patch.shape[-1], np.zeros(shape)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                v = (((i + 0.5) / height * 2 - 1) - y) / scale
                u = (((j + 0.5) / width * 2 - 1) - x) / scale
                canvas[c, i, j] = interpolate(patch[c], (v + 1) / 2 * window - 0.5, (u + 1) / 2 * window - 0.5)
    return canvas

// The texts of the page whose contrast is too low for WCAG AA: { texts, low }.
(() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = text => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map(channel => channel / 255);
  };
  const over = (top, bottom) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * bottom[i]).concat(1);
  const background = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(colour(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [1, 1, 1, 1]);
  };
  const luminance = rgb => rgb.slice(0, 3)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const elements = [...document.querySelectorAll("body *")].filter(element => element.checkVisibility() &&
    (element.matches("input, select") || [...element.childNodes].some(node =>
      node.nodeType === Node.TEXT_NODE && node.data.trim())) &&
    !element.closest("script, noscript, option, title, desc"));
  const low = elements.filter(element => {
    const style = getComputedStyle(element);
    const below = background(element);
    const text = over(colour(element.closest("svg") ? style.fill : style.color), below);
    const [dark, light] = [luminance(text), luminance(below)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    return (light + 0.05) / (dark + 0.05) < least;
  });
  const described = low.map(element => `${element.className}: ${element.textContent.trim()}`);
  return { texts: elements.length, low: described };
})()

// Only calls that read can be tried from the page: a click in a manual must not end a run.

const place = document.getElementById("description");

// Swagger UI puts a link inside each call's button, which a screen reader cannot tell apart: the button is enough.
const plainNames = () => ({
  wrapComponents: {
    DeepLink: (_, system) => ({ text }) => system.React.createElement("span", null, text),
  },
});

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [plainNames],
  layout: "BaseLayout",
  supportedSubmitMethods: ["get"],
  validatorUrl: null,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});

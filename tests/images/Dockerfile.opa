# OPA with the interface of the public `openpolicyagent/opa` image: the command is the arguments of `opa`.
FROM scratch
COPY opa /opa
USER 1000:1000
EXPOSE 8181
ENTRYPOINT ["/opa"]
CMD ["run"]

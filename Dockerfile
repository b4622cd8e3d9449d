# syntax=docker/dockerfile:1
# One image for every role: `serve` (the default), `worker`, and the other commands of the command line.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/logfire-mcp
# What others wrote first, in a layer of its own: an edit of ours does not install it again.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > wanted.txt \
 && /opt/logfire-mcp/bin/pip install -c constraints.txt -r wanted.txt
COPY README.md LICENSE ./
COPY streams/ streams/
COPY projections/ projections/
COPY mcp_api/ mcp_api/
RUN /opt/logfire-mcp/bin/pip install --no-deps -c constraints.txt .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin logfire \
 && install --directory --owner=logfire --group=logfire --mode=0700 /data
COPY --from=build /opt/logfire-mcp /opt/logfire-mcp
# Other machines reach a container: without LOGFIRE_MCP_TOKEN `serve` refuses to listen here.
ENV PATH=/opt/logfire-mcp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOGFIRE_DATA_DIR=/data \
    LOGFIRE_MCP_HOST=0.0.0.0 \
    LOGFIRE_MCP_PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["logfire-mcp-server"]
CMD ["serve"]

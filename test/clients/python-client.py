"""Python's openai, driven by python.test.ts: a command a line comes in, and what came of it goes out, JSON each.

The client is asynchronous, so that a command can be cancelled as applications do it: by its task.
"""

import asyncio
import json
import sys

import openai
from pydantic import BaseModel


class Place(BaseModel):
    place: str
    count: int


PARAMETERS = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}


def tell(number, **said):
    print(json.dumps({"number": number, **said}), flush=True)


def client_of(command):
    origin, key = command["origin"], command["key"]
    if command["azure"]:
        return openai.AsyncAzureOpenAI(azure_endpoint=f"{origin}/api", api_key=key, api_version="2024-10-21")
    return openai.AsyncOpenAI(base_url=f"{origin}/api/v1", api_key=key)


def asked(prompt):
    return [{"role": "user", "content": prompt}]


class Chat:
    def __init__(self, client):
        self.create = client.chat.completions.create
        self.parser = client.chat.completions.parse
        self.embeddings = client.embeddings

    async def ask(self, model, prompt):
        answer = await self.create(model=model, messages=asked(prompt))
        return answer.choices[0].message.content

    async def stream(self, model, prompt, piece):
        async for chunk in await self.create(model=model, messages=asked(prompt), stream=True):
            # Azure's first chunk has none.
            for choice in chunk.choices:
                piece(choice.delta.content or "")

    async def call_tool(self, model, prompt, streamed, tool):
        tools = [{"type": "function", "function": {"name": "locate", "parameters": PARAMETERS}}]
        messages = asked(prompt)
        message = await self.message(streamed, model=model, messages=messages, tools=tools)
        messages.append({"role": "assistant", **message})
        for call in message["tool_calls"]:
            result = tool(json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return (await self.message(streamed, model=model, messages=messages, tools=tools))["content"]

    async def message(self, streamed, **body):
        if not streamed:
            answer = await self.create(**body)
            return answer.choices[0].message.model_dump(exclude_none=True, include={"content", "tool_calls"})
        content, calls = "", []
        async for chunk in await self.create(**body, stream=True):
            for choice in chunk.choices:
                content += choice.delta.content or ""
                for part in choice.delta.tool_calls or []:
                    if part.index == len(calls):
                        function = {"name": part.function.name, "arguments": ""}
                        calls.append({"id": part.id, "type": "function", "function": function})
                    calls[part.index]["function"]["arguments"] += part.function.arguments or ""
        return {"content": content, **({"tool_calls": calls} if calls else {})}

    async def parse(self, model, prompt):
        answer = await self.parser(model=model, messages=asked(prompt), response_format=Place)
        return answer.choices[0].message.parsed.model_dump()

    async def embed(self, model, inputs):
        return [each.embedding for each in (await self.embeddings.create(model=model, input=inputs)).data]


class Responses:
    def __init__(self, client):
        self.create = client.responses.create
        self.parser = client.responses.parse

    async def ask(self, model, prompt):
        return (await self.create(model=model, input=prompt, store=False)).output_text

    async def stream(self, model, prompt, piece):
        async for event in await self.create(model=model, input=prompt, store=False, stream=True):
            if event.type == "response.output_text.delta":
                piece(event.delta)

    async def call_tool(self, model, prompt, streamed, tool):
        tools = [{"type": "function", "name": "locate", "parameters": PARAMETERS, "strict": True}]
        items = asked(prompt)
        for item in (await self.response(streamed, model=model, input=items, tools=tools)).output:
            if item.type != "function_call":
                continue
            items.append(item.model_dump(exclude_none=True))
            result = tool(json.loads(item.arguments))
            items.append({"type": "function_call_output", "call_id": item.call_id, "output": result})
        return (await self.response(streamed, model=model, input=items, tools=tools)).output_text

    async def response(self, streamed, **body):
        if not streamed:
            return await self.create(**body, store=False)
        async for event in await self.create(**body, store=False, stream=True):
            if event.type == "response.completed":
                return event.response

    async def parse(self, model, prompt):
        return (await self.parser(model=model, input=prompt, text_format=Place, store=False)).output_parsed.model_dump()


async def run(command):
    number, model = command["number"], command["model"]
    calls = []

    def tool(given):
        calls.append(given)
        return f"{given['place']} is far"

    try:
        async with client_of(command) as client:
            session = (Responses if command["responses"] else Chat)(client)
            match command["what"]:
                case "ask":
                    value = await session.ask(model, command["prompt"])
                case "stream":
                    value = await session.stream(model, command["prompt"], lambda text: tell(number, piece=text))
                case "callTool":
                    answer = await session.call_tool(model, command["prompt"], command["streamed"], tool)
                    value = {"answer": answer, "calls": calls}
                case "parse":
                    value = await session.parse(model, command["prompt"])
                case "embed":
                    value = await session.embed(model, command["inputs"])
        tell(number, value=value)
    except asyncio.CancelledError:
        tell(number, error={"message": "cancelled"})
    except Exception as error:
        said = {"message": str(error), "status": getattr(error, "status_code", None), "code": getattr(error, "code", None)}
        tell(number, error={name: value for name, value in said.items() if value is not None})


async def main():
    tasks = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        number = command["number"]
        if command["what"] == "cancel":
            tasks[number].cancel()
        else:
            tasks[number] = asyncio.create_task(run(command))


asyncio.run(main())
